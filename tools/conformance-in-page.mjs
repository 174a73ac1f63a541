// Conformance where only a page of a browser can run it: one half in the page, one outside.
import { Session } from '@schedule-free-adan/conformance';

/** In the page: answers {@link sessionInPage}. `target(subject)` may be asynchronous. */
export function serveSessions(target) {
  let session;
  /** What the session is, as far as it can leave the page. */
  globalThis.openSession = async (subject, options) => {
    session = new Session(await target(subject), options);
    return { seed: session.seed, checks: session.checks.map(({ id, tier }) => ({ id, tier })) };
  };
  globalThis.runCheck = (id) => session.run(session.checks.find((check) => check.id === id));
  /** Results of the whole suite. */
  globalThis.conformanceOf = async (subject) => {
    await globalThis.openSession(subject);
    const results = [];
    for (const check of session.checks) results.push(await session.run(check));
    return results;
  };
}

/** A session whose checks run in a page, which it closes at its end. */
export async function sessionInPage(name, { browser, page }, subject, options = {}) {
  const call = (expression) => page.evaluate(expression);
  const given = `${JSON.stringify(subject)}, ${JSON.stringify(options)}`;
  return {
    name,
    dtype: 'float32',
    ...(await call(`openSession(${given})`)),
    run: ({ id }) => call(`runCheck(${JSON.stringify(id)})`),
    close: () => browser.close(),
  };
}
