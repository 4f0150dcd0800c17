cd {{directory}} || exit 2
{{modules?}}type module >/dev/null 2>&1 || . /etc/profile
module load {{modules}} || exit 2
source {{environment}} || exit 2
