"""What each code means for the hospital that answered it, and what it may do: for its page, and for whoever reads its ledger.

The codes themselves are all that the coordinator is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from privacy.codes import Refusal, SecaggFault

_PLANS: Mapping[Refusal, str] = {
    Refusal.PLAN_UNSIGNED: "not signed by the coordinator that this hospital trusts; should it repeat, ask the coordinator",
    Refusal.PLAN_INVALID: "the plan contradicts itself or can't be read: the coordinator's to mend",
    Refusal.POLICY_EXPERTS: "the policy allows none of the experts that were asked for",
    Refusal.POLICY_NOISE: "less noise than the policy's least",
    Refusal.POLICY_SAMPLING: "a larger share of patients a step than the policy allows",
    Refusal.POLICY_STEPS: "more steps in a round than the policy allows",
    Refusal.POLICY_TRUST: "noise shared with too few hospitals for the policy's `colluding`",
    Refusal.POLICY_RANK: "more columns of an expert than the policy lets be trained",
    Refusal.POLICY_SAMPLES: "more samples of a patient than the policy allows",
    Refusal.CAMPAIGN_NOT_ALLOWED: "the policy does not name this campaign",
    Refusal.BASE_MISMATCH: "made for another base model than lies here: compare versions with the coordinator",
    Refusal.EXPERTS_MISMATCH: "an expert came that is not the one that the plan names",
    Refusal.ROUND_CONFLICT: "the round was answered before, under another plan",
    Refusal.BUDGET_EXHAUSTED: "a limit of the policy does not hold that round any more: `fedpath-hospital budget` shows which",
    Refusal.SELFTEST_FAILED: "the installed code failed its self-test: mend the installation, then `fedpath-hospital selftest`",
    Refusal.DEVICE_MEMORY: "it needs more memory than the device has free: docs/howto/hospital-day-to-day.md",
    Refusal.NO_DATA: "nothing here answers such questions: see `fedpath-hospital check`",
    Refusal.OUTSIDE_HOURS: "outside of the policy's hours; it is asked again",
    Refusal.AWAITING_APPROVAL: "the campaign waits for this hospital's word: `fedpath-hospital campaigns`",
    Refusal.PAUSED: "the hospital was paused",
    Refusal.UPGRADE_PENDING: "other code is installed than was recorded: `fedpath-hospital upgrade`",
    Refusal.BUSY: "another request was at work; it is asked again",
    Refusal.NOT_OFFERED: "this hospital does not offer that",
    Refusal.BAD_REQUEST: "a request that can't be read: the coordinator's to mend",
    Refusal.UNREACHABLE: "the agent stopped while it worked; the round goes on when it is asked again",
    Refusal.INTERNAL: "something failed here: details.log in the home says what",
}
_SUMS: Mapping[SecaggFault, str] = {
    SecaggFault.MALFORMED: "a message of a summed round can't be read",
    SecaggFault.UNKNOWN_HOSPITAL: "a hospital in it is not on record here: `fedpath-hospital peer`",
    SecaggFault.UNKNOWN_KEY: "a hospital in it has another key than is on record here: ask that hospital itself",
    SecaggFault.BAD_SIGNATURE: "a message in it was not signed by whom it names",
    SecaggFault.WRONG_SESSION: "a message of another round, or a swapped one",
    SecaggFault.WRONG_VIEW: "hospitals were shown different things",
    SecaggFault.THRESHOLD: "too few hospitals could open a single one's part",
    SecaggFault.TOO_FEW: "too few hospitals were left",
    SecaggFault.REPEATED: "a hospital, a key or an answer stood there twice",
    SecaggFault.WEAK_KEY: "a key that protects nothing",
    SecaggFault.LEFT_OUT: "this hospital's own message was missing or changed",
    SecaggFault.WRONG_SHAPE: "a part of another shape",
    SecaggFault.WRONG_NOISE: "noise that counts on more hospitals than the round leaves",
    SecaggFault.CONFLICT: "this step was answered for something else",
    SecaggFault.BAD_SHARE: "a hospital opened another share than it was dealt",
    SecaggFault.BAD_DEAL: "a hospital dealt shares that fit nothing",
}
WORDS: Mapping[str, str] = {str(code): words for kinds in (_PLANS, _SUMS) for code, words in kinds.items()}
