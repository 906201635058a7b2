"""moto's server as a program, changed where it differs from AWS.

- Whoever reads a secret gets the version to which AWSCURRENT was moved. moto goes on with the
  version that had the label before, and a later put leaves the label on two versions.
"""

from __future__ import annotations

import sys

from moto.secretsmanager.models import SecretsManagerBackend
from moto.server import main

update_stage = SecretsManagerBackend.update_secret_version_stage


def update_stage_and_read_it(
    self: SecretsManagerBackend, secret_id: str, version_stage: str, remove_from_version_id: str, move_to_version_id: str
) -> tuple[str, str]:
    answer = update_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
    if version_stage == "AWSCURRENT" and move_to_version_id:
        self.secrets[secret_id].set_default_version_id(move_to_version_id)
    return answer


if __name__ == "__main__":
    SecretsManagerBackend.update_secret_version_stage = update_stage_and_read_it
    sys.exit(main())
