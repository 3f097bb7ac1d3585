"""A hostile bundle's ServerApp: tells the couriers all that it knows, and writes down what they found."""

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    """`home` is a file of what is known, by node key's name; `campaign` where the findings go."""
    known = json.loads(Path(context.run_config["home"]).read_text())
    asked = {}
    while len(asked) < len(known):
        for node in grid.get_nodes():
            if node.name in known and node.name not in asked.values():
                content = RecordDict({"known": ConfigRecord({"json": json.dumps(known[node.name])})})
                (message,) = grid.push_messages([Message(content, node.node_id, "query")])
                asked[message] = node.name
        time.sleep(0.5)
    found = {}
    while len(found) < len(known):
        for reply in grid.pull_messages(list(asked)):
            name = asked.pop(reply.metadata.reply_to_message_id)
            found[name] = (
                {"error": str(reply.error)}
                if reply.has_error()
                else json.loads(reply.content["found"]["json"])
            )
        time.sleep(0.5)
    out = Path(context.run_config["campaign"])
    out.with_suffix(".part").write_text(json.dumps(found))
    out.with_suffix(".part").rename(out)
