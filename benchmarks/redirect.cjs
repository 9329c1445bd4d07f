// Loaded before dodo-sync, which has no setting for the provider's address. Requests for the provider's test
// mode go to the simulator instead; all other requests are refused.
const simulator = process.env.SIMULATOR_URL;
const originalFetch = globalThis.fetch;

globalThis.fetch = (input, init) => {
  const url = new URL(input);
  if (url.origin !== "https://test.dodopayments.com") {
    throw new Error(`only the provider's test mode may be called, not ${url.origin}`);
  }
  return originalFetch(simulator + url.pathname + url.search, init);
};
