"""Methods: what turns the curves of an examination into maps.

A method is one module. It is found by import: `find("lyoo2025")` is `dcejax.methods.lyoo2025`, `find("package.module")`
a module of yours. `dcejax.methods.method.Method` says what such a module holds.
"""
