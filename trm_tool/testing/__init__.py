"""The contract of a recommender as tests that any implementation can run. Imports neither torch nor pytest.

In the tests of a recommender of your own, one test for each rule::

    from deeprec.trm_tool.testing import RULES, check_recommender

    @pytest.mark.parametrize("rule", RULES)
    def test_my_recommender(rule):
        check_recommender(MyRecommender(), rules=[rule])

A recommender that is unavailable at the moment (`RecommenderUnavailableError`) breaks the rule that is being checked.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
