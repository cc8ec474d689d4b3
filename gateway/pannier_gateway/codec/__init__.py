"""zstd, streamed: what is stored compressed, how it is read back, and what uploads claim to be.

Everything that takes long runs in an executor; nothing holds more than about a frame in memory.
"""

from pannier_gateway.codec.budget import MemoryBudget
from pannier_gateway.codec.compressing import FRAME_SIZE, Compressing, compress_small
from pannier_gateway.codec.decoding import Decoding, decode_frame, trimmed
from pannier_gateway.codec.errors import DecodedTooLarge, DecodeError, NoRoom, NotZstd
from pannier_gateway.codec.measuring import Measured, Measuring, measure_small
from pannier_gateway.codec.policy import SAMPLE_SIZE, compressible, pays, worthwhile
from pannier_gateway.codec.seekable import FOOTER_SIZE, Location, SeekTable, SeekTables, table_span

__all__ = [
    "FOOTER_SIZE",
    "FRAME_SIZE",
    "SAMPLE_SIZE",
    "Compressing",
    "DecodeError",
    "DecodedTooLarge",
    "Decoding",
    "Location",
    "Measured",
    "Measuring",
    "MemoryBudget",
    "NoRoom",
    "NotZstd",
    "SeekTable",
    "SeekTables",
    "compress_small",
    "compressible",
    "decode_frame",
    "measure_small",
    "pays",
    "table_span",
    "trimmed",
    "worthwhile",
]
