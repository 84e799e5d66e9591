"""Review desk: the queue, the article with pictures and brief. Keys: J K next and previous, A approve, R reject, B send
back with a note, S approve and schedule, E edit, Z undo for 10 s, `?` all of them. Two editors never hold one article.
"""
