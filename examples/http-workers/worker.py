"""A worker in Python without Stigmergy: counts the words of `words` tasks."""

import json
import os
import urllib.error
import urllib.request

URL, TOKEN = os.environ["STIG_URL"], os.environ["STIG_TOKEN"]
WAIT_S = float(os.environ.get("WAIT_S", "20"))


def call(path, body):
    request = urllib.request.Request(f"{URL}/api/v1{path}", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=WAIT_S + 30) as answer:
        return json.load(answer)


order = {"agent_id": f"python-{os.getpid()}", "task_types": ["words"], "wait_s": WAIT_S}
while claimed := call("/tasks/claim", order)["claimed"]:
    task, lease = claimed[0]["task"], claimed[0]["lease"]
    path = f"/tasks/{task['task_id']}"
    try:
        result = {"words": len(task["payload"]["text"].split())}
        call(f"{path}/complete", {"lease": lease, "result": result})
    except urllib.error.HTTPError as error:  # 409: somebody else has the task by now
        print(error.code, json.load(error)["detail"])
    except (KeyError, AttributeError) as error:
        call(f"{path}/fail", {"lease": lease, "error": repr(error), "retry": False})
