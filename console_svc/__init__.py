"""The console: pages for editors and operators. A pure client of the gRPC API, on `contentgen.client`.

It holds no state that matters: sessions and live pages, which a browser makes anew. Any number of it may run.
"""
