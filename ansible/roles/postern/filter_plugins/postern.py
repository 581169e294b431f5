"""What the role needs to know of postern's answers."""

import json


def doubts(answer):
    """Why a cluster is not well, of one registered command: a list of words.

    The command is one of: node status, node list, tenant list, with --json.
    """
    try:
        said = json.loads(answer.get("stdout") or "")
    except ValueError:
        return ["postern gives no answer: " + (answer.get("stderr") or "").strip()]
    if "ready" in said:
        if said["ready"]:
            return []
        return [said.get("node", "the node") + " is not ready: " + "; ".join(r["text"] for r in said.get("reasons", []))]
    found = []
    for item in said.get("items") or []:
        name = item.get("name", "?")
        if "lease" in item:
            if item.get("state") != "up":
                found.append("node %s is %s" % (name, item.get("state")))
            elif item.get("lease") != "held":
                found.append("node %s has no lease" % name)
            elif item.get("role") == "joining":
                found.append("node %s does not vote yet" % name)
        elif "epoch" in item:
            found += tenant_doubts(name, item)
    return found


def tenant_doubts(name, item):
    if item.get("to"):
        return ["tenant %s is being handed over" % name]
    copy = item.get("mirror")
    if not copy:  # never had a message
        return []
    if not copy.get("node"):
        return ["the mail of tenant %s has one copy" % name]
    if not copy.get("known"):
        return ["the owner of tenant %s gives no answer" % name]
    if not copy.get("synced") or copy.get("left") or copy.get("broken_ms"):
        return ["the second copy of tenant %s is not complete" % name]
    return []


def sources(machines, hostvars):
    """The sources of all machines, as postern apply wants them."""
    found = []
    for machine in machines:
        host = hostvars[machine]
        for source in host.get("postern_sources") or []:
            one = {
                "addr": source["address"],
                "node": host.get("postern_name") or machine.split(".")[0],
                "ehlo": source["ehlo"],
            }
            for key in ("shared", "class"):
                if key in source:
                    one[key] = source[key]
            found.append(one)
    return found


def document(declaration, machines, hostvars):
    """The document of postern apply: sources belong to machines and are declared
    with them, all else is said once. JSON is YAML, too; the comment before it
    keeps Ansible from reading it back."""
    whole = {"version": 1, "sources": sources(machines, hostvars)}
    whole.update(declaration)
    return "# from the inventory\n" + json.dumps(whole, indent=1, default=str)


def operation(one):
    """A change in one line: "~ account mail@shoes.example: bytes_per_month 500MB -> 1GB"."""
    mark = {"add": "+", "change": "~", "remove": "-"}.get(one.get("do"), "?")
    text = " ".join(w for w in (mark, one.get("kind"), one.get("name")) if w)
    fields = ["%s %s -> %s" % (f["name"], f["from"] or "none", f["to"] or "none") for f in one.get("fields") or []]
    return text + (": " + ", ".join(fields) if fields else "")


class FilterModule(object):
    def filters(self):
        return {"postern_doubts": doubts, "postern_document": document, "postern_operation": operation}
