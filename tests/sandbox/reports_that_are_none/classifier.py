"""Writes garbage where its reports go: it changes nothing."""

from .reports import write

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for garbage in (b"garbage\n\n\0\n[]\n1\nnull\n", b"[" * 10**5 + b"\n", b"x" * (9 << 17) + b"\n", b"{" * 10**5 + b"\n"):
            write(garbage)
        write(b'{"event": ["done"]}\n{"event": "unheard-of"}\n{}\n{"event": "predictions"}\n{"event": "done", "x": \n')
        write(b'{"event": "stage", "stage": "finished"}\n{"event": "stage", "stage": ["trained"]}\n{"event": "stage"}\n')
        write(b'{"event": "predictions", "part": "test", "size": 4}\n{"event": "predictions", "part": ["train"], "size": 4}\n')
        write(b'{"event": "x", "size": 1000000000}\n{"event": "predictions", "part": "train", "x": "\xff"}\n')
