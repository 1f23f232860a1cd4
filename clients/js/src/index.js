// @ts-check
/**
 * A client of Dormouse: no dependencies; for pages and for Node.js 20 or newer.
 *
 *     const dormouse = new Dormouse({ url: "https://…", headers: … });
 *     const run = await dormouse.submit({ input: "A story, please." });
 *     console.log((await dormouse.wait(run)).text);
 *
 * @module
 */
export { Dormouse } from "./client.js";
export { DormouseError } from "./errors.js";
export { isFinal } from "./watch.js";

/** @typedef {import("./client.js").CallOptions} CallOptions */
/** @typedef {import("./client.js").ClientOptions} ClientOptions */
/** @typedef {import("./client.js").WaitOptions} WaitOptions */
/** @typedef {import("./client.js").WatchOptions} WatchOptions */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Connection} Connection */
/** @typedef {import("./contract.js").Agent} Agent */
/** @typedef {import("./contract.js").AgentList} AgentList */
/** @typedef {import("./contract.js").AnswerBody} AnswerBody */
/** @typedef {import("./contract.js").Batch} Batch */
/** @typedef {import("./contract.js").BatchBody} BatchBody */
/** @typedef {import("./contract.js").BatchCounts} BatchCounts */
/** @typedef {import("./contract.js").BatchItem} BatchItem */
/** @typedef {import("./contract.js").BatchItemList} BatchItemList */
/** @typedef {import("./contract.js").BatchList} BatchList */
/** @typedef {import("./contract.js").BatchTokenBody} BatchTokenBody */
/** @typedef {import("./contract.js").Deliveries} Deliveries */
/** @typedef {import("./contract.js").ItemStatus} ItemStatus */
/** @typedef {import("./contract.js").Problem} Problem */
/** @typedef {import("./contract.js").Progress} Progress */
/** @typedef {import("./contract.js").RequiredAction} RequiredAction */
/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").RunBody} RunBody */
/** @typedef {import("./contract.js").RunError} RunError */
/** @typedef {import("./contract.js").RunList} RunList */
/** @typedef {import("./contract.js").RunStatus} RunStatus */
/** @typedef {import("./contract.js").RunSummary} RunSummary */
/** @typedef {import("./contract.js").RunToken} RunToken */
/** @typedef {import("./contract.js").Session} Session */
/** @typedef {import("./contract.js").TokenBody} TokenBody */
/** @typedef {import("./contract.js").ToolCall} ToolCall */
