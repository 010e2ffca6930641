// A worker in JavaScript without Stigmergy (Node 18 or newer): counts the words of `words` tasks.

const { STIG_URL: url, STIG_TOKEN: token, WAIT_S = "20" } = process.env;

async function call(path, body) {
  const answer = await fetch(`${url}/api/v1${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const document = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${document.detail}`);
  return document;
}

const order = { agent_id: `node-${process.pid}`, task_types: ["words"], wait_s: Number(WAIT_S) };
for (;;) {
  const { claimed } = await call("/tasks/claim", order);
  if (claimed.length === 0) break;
  const [{ task, lease }] = claimed;
  const path = `/tasks/${task.task_id}`;
  if (typeof task.payload.text !== "string") {
    await call(`${path}/fail`, { lease, error: "the payload has no text", retry: false });
    continue;
  }
  const words = task.payload.text.split(/\s+/u).filter(Boolean).length;
  // A 409 says that somebody else has the task by now: nothing was written, go on.
  await call(`${path}/complete`, { lease, result: { words } }).catch((error) => console.error(error.message));
}
