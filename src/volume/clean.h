/* What the policy says about voxels that are not numbers, and about labels. Private to the volume
 * room. */
#pragma once
#include "volume/volume.h"

/* Applies policy->nonfinite, then policy->labels. Errors name volume->source and the first voxel.
 */
CHECKED enum status volume_clean(struct volume *volume, const struct volume_policy *policy);
