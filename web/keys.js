// The keys that somebody has typed in: kept for this tab alone, and sent in headers, never in an address.
const FUNCTION = "dormouse-key";
const OPERATOR = "dormouse-operator-key";

export const functionKey = () => sessionStorage.getItem(FUNCTION);
export const keepFunctionKey = (key) => sessionStorage.setItem(FUNCTION, key);

export const operatorKey = () => sessionStorage.getItem(OPERATOR);
export const keepOperatorKey = (key) => (key ? sessionStorage.setItem(OPERATOR, key) : sessionStorage.removeItem(OPERATOR));

/** What a call without a run's token has to send. @returns {Record<string, string>} */
export function headers() {
  const known = functionKey();
  return known ? { "x-functions-key": known } : {};
}
