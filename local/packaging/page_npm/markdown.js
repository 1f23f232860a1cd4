// What web/vendor/markdown.js is made from.
export * from "streaming-markdown";
