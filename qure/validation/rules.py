"""Every rule that data must keep: what breaks it, what to do about it, and how much weight it has.

An error fails the stage; a warning is listed and counted. Errors that `tolerable` marks may be passed over for as many
rows as `validation.tolerate` says, and those rows are then left out of every later stage. All other errors concern the
shape of the files, which no reader can pass over. A warning that `tolerable` marks is an error, tolerated or not, for
whoever names it there: so its rows can be left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qure.datasets import checks, links
from qure.errors import BadInput

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: as `validation.tolerate` and every report write it.
        reason: what is wrong with a row that breaks it.
        remedy: what the user can do.
        about: "annotation" errors end with exit code 2 and no output, "image" errors with exit code 1.
        severity: whether a broken row fails the stage.
        tolerable: whether `validation.tolerate` may name it.
    """

    name: str
    reason: str
    remedy: str
    about: Literal["annotation", "image"] = "annotation"
    severity: Severity = "error"
    tolerable: bool = False


_CORRECT = "Correct the row or restore the file"
_REPLACE = "Replace the image, or let validation.tolerate drop it"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("schema", "a field is missing or of the wrong type", _CORRECT),
        Rule("empty_file", "the file has no entries", "Restore or download the file again"),
        Rule("unsafe_id", "the id could name a file outside the image folder", "Rename the image and correct the row"),
        Rule("unsafe_path", "the path could lead out of the data folder", "Make the path relative to the folder"),
        Rule("duplicate_id", "the id occurs twice where it must be unique", "Remove one of the two rows"),
        Rule(
            checks.UNKNOWN_ID,
            "the image is not in the list of images that the row's split has",
            "Take annotations and image lists from one release, or correct the id",
            tolerable=True,
        ),
        Rule(
            checks.TARGET_IS_REFERENCE,
            "target and reference are the same image",
            "Correct or remove the row",
            tolerable=True,
        ),
        Rule(
            checks.DUPLICATE_TRIPLET,
            "the same reference, target and text as an earlier row, in whatever order, case, spacing or punctuation",
            "Remove one of the two rows",
            tolerable=True,
        ),
        Rule(
            checks.EMPTY_TEXT,
            "the modification text is empty, or holds nothing but blanks, punctuation and characters that do not show",
            "Write the text or remove the row",
            tolerable=True,
        ),
        Rule(
            "text_length",
            "the modification text is longer than validation.max_text_characters",
            "Shorten the text, or raise validation.max_text_characters",
            tolerable=True,
        ),
        Rule(
            "text_characters",
            "the modification text holds control characters",
            "Remove the characters",
            tolerable=True,
        ),
        Rule(
            "leakage",
            "the image is in another split too",
            "Remove the image from one of the splits; tolerated, its training queries are left out",
            tolerable=True,
        ),
        Rule(
            "confusable_id",
            "the id differs from an earlier one only in case, Unicode form or characters that do not show",
            "Rename one of the two images",
            tolerable=True,
        ),
        Rule(
            "path_of_another_image",
            "the path's file is not named like the id, so the pictures of two ids may be exchanged",
            "Correct the path",
            tolerable=True,
        ),
        Rule("image_set", "an image set holds six different images, reference and target among them", _CORRECT),
        Rule(
            "ground_truth",
            "the right answers are different images, the target is one of them, and the reference is none",
            _CORRECT,
        ),
        Rule(
            "label_query",
            "the label is about no query of the split: none has its id with its reference, target and text",
            "The labels are of other data: export them anew (qure labels export), or remove the row",
        ),
        Rule("answer", "the preferred set is 1 or 2, and each set's score is from 1 to 5", _CORRECT),
        Rule("retrieved_set", "a retrieved set holds five different images", _CORRECT),
        Rule(
            "public_count",
            "the file has another number of entries than the published one",
            "Download the file again, or set validation.expect_public to false for data of your own",
            severity="warning",
        ),
        Rule(
            "one_caption_empty",
            "one of the two captions is empty",
            "Nothing needs to be done: the other caption is used (published files have such rows)",
            severity="warning",
        ),
        Rule(
            "empty_text_unlabelled",
            "the modification text of a query without a published answer is empty",
            "Nothing needs to be done: it is ranked by its reference image alone",
            severity="warning",
        ),
        Rule(
            "duplicate_unlabelled",
            "the same reference and text as an earlier query without a published answer",
            "Nothing needs to be done: a submission answers both",
            severity="warning",
        ),
        Rule(
            "cross_category_leakage",
            "the image is in another category's list of another split, and one model is trained on all categories",
            "Published numbers include it; training.exclude_leaked leaves such images' training queries out, and every "
            "number stands beside the one without these queries",
            severity="warning",
        ),
        Rule(
            "pair_in_two_splits",
            "the same reference and target are a query of another split too",
            "Published numbers include it; training.exclude_leaked leaves the training query out. Own data should not "
            "have such pairs",
            severity="warning",
        ),
        Rule(
            "inconsistent_preference",
            "the preferred set has the lower score",
            "Nothing needs to be done: the evaluation leaves the row out as published",
            severity="warning",
        ),
        Rule(
            "identical_sets",
            "both retrieved sets hold the same images",
            "Nothing needs to be done: no model can prefer one of them",
            severity="warning",
        ),
        Rule(
            "contradicting_answers",
            "the person was asked the same before, the sets perhaps exchanged, and chose the other one",
            "Nothing needs to be done for the published file, which has such a row; remove both from own data",
            severity="warning",
        ),
        Rule(
            "repeated_question",
            "the person was asked the same before, the captions or the sets perhaps exchanged",
            "Nothing needs to be done for the published file, which has such rows; own data should ask once",
            severity="warning",
        ),
        Rule(
            "no_answers",
            "the person has answered nothing",
            "Nothing needs to be done: the person counts nowhere",
            severity="warning",
        ),
        Rule(
            "soft_answers",
            "target_soft calls the target wrong or grades the reference",
            "Nothing needs to be done: no number is made of target_soft (docs/datasets.md says why)",
            severity="warning",
        ),
        Rule(
            "no_gallery",
            "the index of COCO's images is missing, so there is no gallery to rank",
            "Download COCO 2017's unlabeled image information, or do without CIRCO's results",
            severity="warning",
        ),
        Rule(
            "not_versioned",
            "the folder is a link, and DVC leaves what is behind it out of the data's version",
            links.REMEDY,
            severity="warning",
        ),
        Rule(
            "ignored_by_dvc",
            "a .dvcignore hides it, and DVC leaves it out of the data's version",
            "Take the pattern out of .dvcignore, or end it with an exception (!NAME), and run dvc add again",
            severity="warning",
        ),
        Rule(
            "stray_file",
            "it lies among the images, gives none, and no list names it",
            "Remove it; or, if it is to be an image, put one whole file of an image's name there",
            about="image",
            severity="warning",
        ),
        Rule(
            "image_missing",
            "no image file has this id",
            "Put the file there, or let validation.tolerate drop the image",
            about="image",
            tolerable=True,
        ),
        Rule("image_unreadable", "the image cannot be decoded", _REPLACE, about="image", tolerable=True),
        Rule(
            "image_too_large",
            "the image is refused before it is decoded, it would take too much memory",
            _REPLACE,
            about="image",
            tolerable=True,
        ),
        Rule(
            "image_size",
            "the image's short side has fewer pixels than validation.min_image_side",
            _REPLACE,
            about="image",
            tolerable=True,
        ),
        Rule(
            "image_aspect",
            "the image is more elongated than validation.max_image_aspect",
            _REPLACE,
            about="image",
            tolerable=True,
        ),
        Rule(
            "image_not_as_packed",
            "the image is not what was packed into its shard",
            "Pack the images again with 'qure data pack', and remove what was packed",
            about="image",
            tolerable=True,
        ),
        Rule(
            "image_damaged",
            "the file is damaged, though something can be decoded of it",
            "Look at the picture and restore the file; named in validation.tolerate, it is left out",
            about="image",
            severity="warning",
            tolerable=True,
        ),
        Rule(
            "image_blank",
            "the picture shows nothing",
            "Look at the picture and replace it; named in validation.tolerate, it is left out",
            about="image",
            severity="warning",
            tolerable=True,
        ),
        Rule(
            "image_near_duplicate",
            "an image of the training split looks like one of a split that judges the model",
            "Look at both pictures; named in validation.tolerate, the training image is left out",
            about="image",
            severity="warning",
            tolerable=True,
        ),
        Rule(
            "image_duplicate",
            "an image of the training split shows, pixel for pixel, one of a split that judges the model",
            "Remove the image from the training split, or let validation.tolerate drop it there",
            about="image",
            tolerable=True,
        ),
    )
}


def check_tolerance(tolerate: Mapping[str, int]) -> None:
    """Refuses a `validation.tolerate` that names no rule, or one that cannot be tolerated.

    Raises:
        BadInput: names the field and what may stand there.
    """
    for name in tolerate:
        if name not in RULES or not RULES[name].tolerable:
            problem = "no such rule" if name not in RULES else "rows that break this rule cannot be left out"
            tolerable = ", ".join(sorted(rule.name for rule in RULES.values() if rule.tolerable))
            raise BadInput(problem, field=f"validation.tolerate.{name}", remedy=f"Rules that can be: {tolerable}")
