/** What the page asks the server for: small JSON, and columns as they lie in memory.
 *
 * Paths are relative to the page, whose own path holds the token.
 */

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()) || `${path}: ${answer.status}`);
  return answer;
}

export const json = async (path) => (await get(path)).json();
export const buffer = async (path) => (await get(path)).arrayBuffer();
export const floats = async (path) => new Float32Array(await buffer(path));
export const bytes = async (path) => new Uint8Array(await buffer(path));
