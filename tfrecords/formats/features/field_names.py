"""Names that other code bases give to the arrays of an image, and the role of each array.

The same names occur as the end of a name of a data set (`42_features` of Meshed-Memory and DLCT),
as data sets of a group per image, as columns of a file (`image_features` of bottom-up attention
for VQA), and as arrays of an .npz (`x`, `bbox`, `num_bbox` of OpenVQA).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

FieldRole = Literal[
    "feature",
    "grid_feature",
    "global_feature",
    "boxes",
    "relative_boxes",
    "size",
    "height",
    "width",
    "count",
    "ranges",
    "ids",
    "other",
]
FEATURE_ROLES: tuple[FieldRole, ...] = ("feature", "grid_feature", "global_feature")

# In the order of preference: a file with `feat` and `x` is read by its `feat`.
_NAMES: dict[FieldRole, str] = {
    # [N, D], [gh, gw, D] or [D]: distinguished by their shape.
    "feature": "feat z features feature feats image_features image_feature img_features "
    "region_features region_feature region_feats att_feats att_feat att roi_features x",
    "grid_feature": "grids grid grid_features grid_feature grid_feats grid_feat",
    "global_feature": "global_feature global_features global_feats global_feat global g_feature "
    "g_features g_feat gv_feat fc fc_feats fc_feat",
    # x1, y1, x2, y2.
    "boxes": "boxes bbox bboxes bb box image_bb rois",
    # x1, y1, x2, y2 in 0..1, then width and height.
    "relative_boxes": "spatial_features spatials spatial normalized_boxes relative_boxes",
    # Height before width.
    "size": "size image_size img_size",
    "height": "image_h img_h image_height img_height height",
    "width": "image_w img_w image_width img_width width",
    "count": "num_boxes num_bbox num_bboxes",
    # The first and the last but one row of each image among the regions of all images.
    "ranges": "pos_boxes",
    "ids": "image_id image_ids img_id img_ids imgid imgids ids id image_name image_names filename "
    "filenames file_name file_names names cocoid",
    "other": "mask cls_prob attr_prob cls objects objects_id objects_conf objects_prob attrs "
    "attrs_id attrs_conf attributes classes class scores score conf probs info "
    "labels split soft_labels",
}  # fmt: skip
_ROLES: dict[str, tuple[int, FieldRole]] = {
    name: (rank, role) for role, names in _NAMES.items() for rank, name in enumerate(names.split())
}


def field_role(name: str) -> FieldRole | None:
    """Returns the role of an array of this name; None for names that are not known."""
    found = _ROLES.get(name.lower())
    return found[1] if found else None


def fields_by_role(names: Iterable[str]) -> dict[FieldRole, str]:
    """Returns a mapping from role to the preferred name with that role.

    Args:
        names: names of data sets; only the last part of a name in a group is compared.
    """
    known = ((_ROLES.get(name.rpartition("/")[2].lower()), name) for name in names)
    found: dict[FieldRole, str] = {}
    for (_, role), name in sorted((ranked, name) for ranked, name in known if ranked):
        found.setdefault(role, name)
    return found


def split_field(name: str) -> tuple[str, str] | None:
    """Splits `42_cls_prob` into the names of the image and the field; None if it has no field."""
    at = name.find("_")
    while at > 0:
        if field_role(name[at + 1 :]):
            return name[:at], name[at + 1 :]
        at = name.find("_", at + 1)
    return None


def describe_fields() -> str:
    """Returns the recognized names of features, for error messages."""
    return ", ".join(f"`{name}`" for role in FEATURE_ROLES for name in _NAMES[role].split()[:6])
