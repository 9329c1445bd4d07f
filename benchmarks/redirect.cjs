// Loaded before dodo-sync, whose address of the provider cannot be set: sends what is meant for the
// provider's test mode to the simulator, and lets nothing else out.
const simulator = process.env.SIMULATOR_URL;
const fetchThere = globalThis.fetch;

globalThis.fetch = (input, init) => {
  const asked = new URL(input);
  if (asked.origin !== "https://test.dodopayments.com") {
    throw new Error(`nobody is to be asked but the simulator, and not ${asked.origin}`);
  }
  return fetchThere(simulator + asked.pathname + asked.search, init);
};
