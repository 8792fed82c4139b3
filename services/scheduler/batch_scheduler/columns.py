"""The lines of an input as compact arrays: some 44 bytes each, and no Python object."""

from array import array


class Columns:
    """One entry for each line that is not blank, in the order of the file."""

    def __init__(self) -> None:
        # Where the line starts in the spool, and its bytes with the newline.
        self.offset = array("Q")
        self.length = array("I")
        # Counted from 1, blank lines too.
        self.number = array("I")
        self.id_hash = array("q")
        # Of lines that keep every rule; zeros otherwise.
        self.model = array("I")
        self.tokens = array("I")
        # What prompt.prefix_keys gives.
        self.leading = array("I")
        self.near = array("I")
        self.far = array("I")

    def __len__(self) -> int:
        return len(self.offset)

    def place(self, offset: int, length: int, number: int, id_hash: int) -> None:
        """One more line."""
        self.offset.append(offset)
        self.length.append(length)
        self.number.append(number)
        self.id_hash.append(id_hash)

    def describe(self, model: int, tokens: int, keys: tuple[int, int, int]) -> None:
        """What is known of the line placed last."""
        self.model.append(model)
        self.tokens.append(tokens)
        leading, near, far = keys
        self.leading.append(leading)
        self.near.append(near)
        self.far.append(far)
