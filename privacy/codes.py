"""The closed sets of codes: the only words about a failure that may cross between hospital and consortium."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a hospital did not answer with releases.  Nothing else about a failure leaves a hospital.

    A code depends only on what the coordinator sent, on the hospital's policy, on its ledger's public
    events, on the clock or on what its IT has decided and installed; never on a value in its data.
    """

    PLAN_UNSIGNED = "plan-unsigned"  # plan or request without a signature by the pinned coordinator key
    PLAN_INVALID = "plan-invalid"  # the plan does not parse or contradicts itself
    POLICY_EXPERTS = "policy-experts"  # the policy allows none of the plan's experts
    POLICY_NOISE = "policy-noise"  # less noise than the policy's minimum
    POLICY_SAMPLING = "policy-sampling"  # a higher sampling rate than allowed
    POLICY_STEPS = "policy-steps"  # more steps in a round than allowed
    POLICY_TRUST = (
        "policy-trust"  # distributed trust that bears fewer colluding hospitals than the policy asks for
    )
    POLICY_RANK = "policy-rank"  # a sum of more columns than the policy lets train
    POLICY_SAMPLES = "policy-samples"  # more samples of a patient than allowed
    CAMPAIGN_NOT_ALLOWED = "campaign-not-allowed"  # the policy names other campaigns
    BASE_MISMATCH = "base-mismatch"  # the hospital holds another base model
    EXPERTS_MISMATCH = "experts-mismatch"  # an expert state is missing or not the one that the plan names
    ROUND_CONFLICT = "round-conflict"  # this round was answered under another plan
    BUDGET_EXHAUSTED = "budget-exhausted"  # the round would take epsilon past a limit of the policy
    SELFTEST_FAILED = "selftest-failed"  # the installed code failed its last self-test
    DEVICE_MEMORY = "device-memory"  # the plan needs more memory than the hospital's device has
    NO_DATA = "no-data"  # the hospital has nothing at all for the campaign
    OUTSIDE_HOURS = "outside-hours"  # the policy's hours are over: no round begins until they come again
    AWAITING_APPROVAL = "awaiting-approval"  # the policy has campaigns approved by hand, and this one is not
    PAUSED = "paused"  # the hospital's IT lets no round begin for now
    UPGRADE_PENDING = "upgrade-pending"  # other code is installed than the hospital's IT has recorded
    BUSY = "busy"  # the agent is at work, or its policy is changing: it is asked again
    NOT_OFFERED = "not-offered"  # this agent does not do that
    BAD_REQUEST = "bad-request"  # no request of this protocol, or a receipt or key that does not hold
    UNREACHABLE = "unreachable"  # the courier found no agent
    INTERNAL = "internal"  # a fault of the software or the machine; the hospital's own log has its words


class ReleaseFault(StrEnum):
    """Why the consortium (or a hospital's own egress guard) refused a release."""

    TOO_LARGE = "too-large"  # more bytes than a release of this expert can have
    NOT_A_RELEASE = "not-a-release"  # bytes that do not begin, or are not formed, as a release is
    UNKNOWN_HOSPITAL = "unknown-hospital"  # no hospital of this name is enrolled
    UNKNOWN_KEY = "unknown-key"  # the hospital is enrolled, but with another key
    BAD_SIGNATURE = "bad-signature"  # not signed by the key that the hospital is enrolled with
    WRONG_CAMPAIGN = "wrong-campaign"  # bound to another campaign
    WRONG_ROUND = "wrong-round"  # stale, or early
    REPLAYED = "replayed"  # the very release was taken before
    WRONG_PLAN = "wrong-plan"  # bound to another plan of this round
    WRONG_EVENT = "wrong-event"  # it says that it spent something other than the plan's round
    WRONG_BASE = "wrong-base"  # trained on another base model
    WRONG_CODE = "wrong-code"  # made by code that is not trusted
    UNKNOWN_EXPERT = "unknown-expert"  # of an expert that this round does not train
    WRONG_PARENT = "wrong-parent"  # a change to another state than the round began with
    WRONG_DTYPE = "wrong-dtype"  # its tensors are not int8 with float32 scales
    WRONG_SHAPE = "wrong-shape"  # its tensors are not the expert's
    LOWER_RANK = "lower-rank"  # of fewer columns than the expert has, where only whole changes can be counted
    NOT_FINITE = "not-finite"  # it holds NaN or infinity
    NORM_TOO_LARGE = "norm-too-large"  # longer than a change of this plan can be
    NORM_TOO_SMALL = "norm-too-small"  # shorter than the noise that an honest hospital adds
    WRONG_NOISE = "wrong-noise"  # it states noise that the plan's mechanism does not make there


class SecaggFault(StrEnum):
    """Why a hospital or the consortium stopped or refused something in secure aggregation."""

    MALFORMED = "malformed"  # bytes that are no such message, or a message that contradicts itself
    UNKNOWN_HOSPITAL = "unknown-hospital"  # on the roll and not on this hospital's record; or not on the roll
    UNKNOWN_KEY = "unknown-key"  # the roll names another release key than the hospital was enrolled with
    BAD_SIGNATURE = "bad-signature"  # not signed by the key that the roll names
    WRONG_SESSION = "wrong-session"  # another campaign, round, plan, roll or threshold: stale, or swapped
    WRONG_VIEW = "wrong-view"  # not everybody was shown the same keys, deals or survivors
    THRESHOLD = "threshold"  # terms under which too few could open a single hospital's input
    TOO_FEW = "too-few"  # fewer hospitals are left than the threshold
    REPEATED = "repeated"  # a hospital, a key or an answer stands there twice
    WEAK_KEY = "weak-key"  # a key of small order
    LEFT_OUT = "left-out"  # the hospital's own message is missing, or not the one it sent
    WRONG_SHAPE = "wrong-shape"  # another number of values, or of bits, than the session's
    WRONG_NOISE = "wrong-noise"  # an input whose noise assumes more honest hospitals than the session leaves
    CONFLICT = "conflict"  # this step was answered for something else
    BAD_SHARE = "bad-share"  # a hospital opened another share than it was dealt
    BAD_DEAL = "bad-deal"  # a hospital dealt shares of no secret, or of another than it announced


# Faults that may be told of bytes before it is known who wrote them.  Bytes with any other fault bear the hospital's
# signature.  (A part that is *named* for an unknown expert is not opened.)
UNSIGNED = frozenset(
    {
        ReleaseFault.TOO_LARGE,
        ReleaseFault.NOT_A_RELEASE,
        ReleaseFault.UNKNOWN_HOSPITAL,
        ReleaseFault.UNKNOWN_KEY,
        ReleaseFault.BAD_SIGNATURE,
        ReleaseFault.UNKNOWN_EXPERT,
    }
)
