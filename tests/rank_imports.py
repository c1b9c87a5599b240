"""What the server that ranks are forked from imports: all that is slow."""

import tooltune.train.recipe
import tooltune.train.trainee  # noqa: F401
