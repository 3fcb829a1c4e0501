"""The open points: one function a question, one file a group. Importing it registers them, in this order."""
import collections, traceback

from prices import Cost

QUESTIONS = []

# `holds` is None where s3haul assumes nothing.
Answer = collections.namedtuple("Answer", "sent came means holds", defaults=[None])


class NotAsked(Exception):
    """Why a question is not asked."""


class NotSettled(Exception):
    """What came back instead of something that settles it."""


def asks(point, cost=Cost(), when=lambda given: True):
    """Registers a function as a question: `question(stage)` gives an Answer. Its docstring is the question."""
    def register(function):
        QUESTIONS.append((point, function, cost, when))
        return function
    return register


def answered(function, stage):
    """(verdict, answer) of one question; what goes wrong is an answer too."""
    try:
        answer = function(stage)
    except NotAsked as reason:
        return "not asked", Answer("–", "–", str(reason))
    except NotSettled as error:
        return "NOT SETTLED", Answer(*error.args, "–")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "NOT SETTLED", Answer("–", f"{type(error).__name__} in {last.name}: {error}", "–")
    return {None: "settled", True: "holds", False: "DOES NOT HOLD"}[answer.holds], answer


from questions import batch, inventory, policies, copying, multipart, access, out_of_reach  # noqa: E402
