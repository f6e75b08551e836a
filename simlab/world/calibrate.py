"""stub"""

from dataclasses import dataclass

from simlab.schema import Catalogue, Ints, Shoppers


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Real choices with what is public of items and people; one row a rating, in order of time."""

    name: str
    user_id: Ints
    item_id: Ints
    rating: Ints
    """Whole stars, 1..5."""
    catalogue: Catalogue
    shoppers: Shoppers
