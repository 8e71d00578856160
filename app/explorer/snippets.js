/**
 * One call of the API, as a person would type it.
 *
 * @typedef {{url: string, body?: object, file?: string, save?: string, key?: boolean}} Call
 *   `body` travels as JSON; `file` names a picture that travels as it is; `save` names the file that the answer becomes.
 */

const KEY = "YOUR_KEY";

/** @type {Record<string, {name: string, write: (call: Call) => string}>} */
export const LANGUAGES = {
  curl: { name: "curl", write: curl },
  python: { name: "Python", write: python },
  fetch: { name: "fetch", write: javascript },
};

/** @param {Call} call */
function curl({ url, body, file, save, key }) {
  const parts = [`curl -sS --fail-with-body '${url}'`];
  if (key) parts.push(`-H 'Authorization: Bearer ${KEY}'`);
  if (body) parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  if (file) parts.push("-H 'Content-Type: image/png'", `--data-binary @${file}`);
  if (save) parts.push(`-o ${save}`);
  return parts.join(" \\\n  ");
}

/** @param {Call} call */
function python({ url, body, file, save, key }) {
  const headers = {
    ...(key ? { Authorization: `Bearer ${KEY}` } : {}),
    ...(file ? { "Content-Type": "image/png" } : {}),
  };
  const said = [JSON.stringify(url)];
  if (body) said.push(`json=${pythonLiteral(body)}`);
  if (file) said.push(`content=Path(${JSON.stringify(file)}).read_bytes()`);
  if (Object.keys(headers).length) said.push(`headers=${pythonLiteral(headers)}`);
  const imports = file || save ? "from pathlib import Path\n\nimport httpx\n" : "import httpx\n";
  const use = save ? `Path(${JSON.stringify(save)}).write_bytes(answer.content)` : "print(answer.json())";
  return `${imports}\nanswer = httpx.post(\n    ${said.join(",\n    ")},\n)\nanswer.raise_for_status()\n${use}`;
}

/** @param {Call} call */
function javascript({ url, body, file, save, key }) {
  const type = body ? "application/json" : "image/png";
  const headers = { "Content-Type": type, ...(key ? { Authorization: `Bearer ${KEY}` } : {}) };
  const sent = file ? "file" : `JSON.stringify(${JSON.stringify(body)})`;
  const before = file ? 'const file = document.querySelector("input[type=file]").files[0];\n' : "";
  const use = save ? "await answer.blob()" : "await answer.json()";
  return `${before}const answer = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: ${JSON.stringify(headers)},
  body: ${sent},
});
if (!answer.ok) throw new Error((await answer.json()).title);
const result = ${use};`;
}

/** JSON as Python writes it. */
export function pythonLiteral(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, inner]) => `${JSON.stringify(name)}: ${pythonLiteral(inner)}`)
    .join(", ")}}`;
}
