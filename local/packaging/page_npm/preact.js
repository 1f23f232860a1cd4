// What web/vendor/preact.js is made from: one file, so that the page's modules share one Preact.
import htm from "htm";
import { h } from "preact";

export { cloneElement, Component, createContext, createRef, Fragment, h, render, toChildArray } from "preact";
export * from "preact/hooks";
export const html = htm.bind(h);
