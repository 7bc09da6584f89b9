"""Publishing: a Hub served from a folder, and the client side that plans, pushes and reads back.

Server side: `gitoid`, `blobs`, `repository`, `discussions`, `collections`, `tokens` and `store`
keep the folder; `metadata`, `wire`, `routes_*` and `server` speak HTTP, `serve` runs it;
`pages`, `page_templates`, `rendering` and `sanitizing` make its web pages.
Client side: `client`, `plan`, `scan`, `receipts`, `remote`, `push`, `readback`, `tagging` and
`publish`; `standing` looks, `rollback` takes back.
"""
