from .contract import check_async_recommender as check_async_recommender, check_recommender as check_recommender
from .rules import RULES as RULES
