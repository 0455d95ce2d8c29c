"""What a gateway sees all day and must let pass: some hundreds of harmless bodies, made here or by the usual programs.

Each module yields bodies by file name; the extension is what a receiver would see, and counts for the type mismatch.
Nothing here comes from anybody's archive: texts are made up, pictures are drawn, documents are written by the
libraries people write them with. `installed` adds files of the packages the tests themselves need.
"""
