"""The masked vector on the wire: signature, length of the header (4 bytes, little endian), header, words.

The header is canonical JSON; the words are little endian. Any words are valid: a masked vector is uniform.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SecaggRefused
from privacy.forms import Form, count
from privacy.keys import SIGNATURE_BYTES, PrivateKey, Purpose
from privacy.secagg.grid import Words
from privacy.secagg.messages import MAX_BYTES, check_sender, read_fields
from privacy.secagg.session import Session

_LENGTH = 4
_FORM: dict[str, Form] = {"view": canonical.is_digest, "size": count, "bits": count}


@dataclass(frozen=True)
class MaskedInput:
    """`hospital`'s vector under its masks, [session.size]; `words` is a view of the message's bytes, read-only."""

    hospital: str
    view: str
    words: Words = field(repr=False, compare=False)

    def sign(self, session: Session, key: PrivateKey) -> bytes:
        """The bytes that travel."""
        header = canonical.encode(
            {
                "session": session.hash,
                "hospital": self.hospital,
                "view": self.view,
                "size": self.words.size,
                "bits": 8 * self.words.itemsize,
            }
        )
        words = self.words.astype(self.words.dtype.newbyteorder("<"), copy=False).tobytes()
        payload = len(header).to_bytes(_LENGTH, "little") + header + words
        return key.sign(payload, Purpose.MASKED_INPUT) + payload

    @classmethod
    def open(cls, data: bytes, session: Session) -> MaskedInput:
        """Read hostile bytes. Raises `SecaggRefused`; `wrong-shape` for words that are not the session's."""
        start = SIGNATURE_BYTES + _LENGTH
        end = start + int.from_bytes(data[SIGNATURE_BYTES:start], "little")
        if len(data) < start or end > min(len(data), start + MAX_BYTES):
            raise SecaggRefused(SecaggFault.MALFORMED, "its header does not end")
        fields = read_fields(data[start:end], _FORM)
        check_sender(data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:], fields, session, Purpose.MASKED_INPUT)
        found = (fields["size"], fields["bits"], len(data) - end)
        if found != (session.size, session.bits, session.size * session.bits // 8):
            raise SecaggRefused(
                SecaggFault.WRONG_SHAPE,
                f"{found[0]} words of {found[1]} bits in {found[2]} bytes, not {session.size} of {session.bits}",
                fields["hospital"],
            )
        words = np.frombuffer(data, "<u4" if session.bits == 32 else "<u8", offset=end)
        return cls(fields["hospital"], fields["view"], words)
