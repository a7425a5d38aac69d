"""Decimals of more digits than Spark has: their text.

Plain Python on bytes. Must not know Spark, and must not import anything of this package: Spark's workers receive it by
value and need not have the package installed.
"""

from decimal import Decimal


def text_of_decimal(big_endian: bytes | None, scale: int) -> str | None:
    """Return all digits of a number that is stored as a whole one, `scale` of them behind the point.

    Args:
        big_endian: the whole number, as two's complement; None: no value.
        scale: how many digits are behind the point.
    """
    if big_endian is None:
        return None
    whole = int.from_bytes(big_endian, "big", signed=True)
    digits = tuple(map(int, str(abs(whole))))
    return f"{Decimal((int(whole < 0), digits, -scale)):f}"
