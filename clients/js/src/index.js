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

/** @typedef {import("./options.js").BatchWaitOptions} BatchWaitOptions */
/** @typedef {import("./options.js").CallOptions} CallOptions */
/** @typedef {import("./options.js").ClientOptions} ClientOptions */
/** @typedef {import("./options.js").ItemFilter} ItemFilter */
/** @typedef {import("./options.js").Page} Page */
/** @typedef {import("./options.js").RunFilter} RunFilter */
/** @typedef {import("./options.js").SubmitOptions} SubmitOptions */
/** @typedef {import("./options.js").WaitOptions} WaitOptions */
/** @typedef {import("./options.js").WatchOptions} WatchOptions */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Connection} Connection */
/** @typedef {import("./contract.js").Agent} Agent */
/** @typedef {import("./contract.js").AgentList} AgentList */
/** @typedef {import("./contract.js").Annotation} Annotation */
/** @typedef {import("./contract.js").AnswerBody} AnswerBody */
/** @typedef {import("./contract.js").Batch} Batch */
/** @typedef {import("./contract.js").BatchBody} BatchBody */
/** @typedef {import("./contract.js").BatchCounts} BatchCounts */
/** @typedef {import("./contract.js").BatchItem} BatchItem */
/** @typedef {import("./contract.js").BatchItemList} BatchItemList */
/** @typedef {import("./contract.js").BatchList} BatchList */
/** @typedef {import("./contract.js").BatchTokenBody} BatchTokenBody */
/** @typedef {import("./contract.js").Deliveries} Deliveries */
/** @typedef {import("./contract.js").Drain} Drain */
/** @typedef {import("./contract.js").HostedCall} HostedCall */
/** @typedef {import("./contract.js").Intake} Intake */
/** @typedef {import("./contract.js").ItemStatus} ItemStatus */
/** @typedef {import("./contract.js").Problem} Problem */
/** @typedef {import("./contract.js").Progress} Progress */
/** @typedef {import("./contract.js").Question} Question */
/** @typedef {import("./contract.js").Reasoning} Reasoning */
/** @typedef {import("./contract.js").RequiredAction} RequiredAction */
/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./contract.js").RunBody} RunBody */
/** @typedef {import("./contract.js").RunError} RunError */
/** @typedef {import("./contract.js").RunInput} RunInput */
/** @typedef {import("./contract.js").RunList} RunList */
/** @typedef {import("./contract.js").RunStatus} RunStatus */
/** @typedef {import("./contract.js").RunSummary} RunSummary */
/** @typedef {import("./contract.js").RunToken} RunToken */
/** @typedef {import("./contract.js").Schedule} Schedule */
/** @typedef {import("./contract.js").ScheduleBody} ScheduleBody */
/** @typedef {import("./contract.js").ScheduleChangeBody} ScheduleChangeBody */
/** @typedef {import("./contract.js").ScheduleList} ScheduleList */
/** @typedef {import("./contract.js").Session} Session */
/** @typedef {import("./contract.js").SubmittedBatch} SubmittedBatch */
/** @typedef {import("./contract.js").SubmittedRun} SubmittedRun */
/** @typedef {import("./contract.js").Timeline} Timeline */
/** @typedef {import("./contract.js").TimelineEntry} TimelineEntry */
/** @typedef {import("./contract.js").TokenBody} TokenBody */
/** @typedef {import("./contract.js").ToolCall} ToolCall */
/** @typedef {import("./contract.js").WatchedList} WatchedList */
/** @typedef {import("./contract.js").WatchedRow} WatchedRow */
/** @typedef {import("./contract.js").WholeToolCall} WholeToolCall */
