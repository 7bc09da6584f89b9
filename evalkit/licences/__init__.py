"""Licences of models: what each permits, what it asks of derivatives, and how it is written.

The facts are data, each with its source: `templates/licences.yaml`. None of it is legal advice.
"""

from evalkit.licences.chain import Link as Link
from evalkit.licences.chain import chain as chain
from evalkit.licences.compatibility import Conflict as Conflict
from evalkit.licences.compatibility import Severity as Severity
from evalkit.licences.compatibility import compatible as compatible
from evalkit.licences.naming import identified as identified
from evalkit.licences.naming import is_same as is_same
from evalkit.licences.naming import leading as leading
from evalkit.licences.naming import linked as linked
from evalkit.licences.naming import mentioned as mentioned
from evalkit.licences.naming import normalised as normalised
from evalkit.licences.naming import quoted as quoted
from evalkit.licences.obligations import Obligations as Obligations
from evalkit.licences.obligations import begins_with as begins_with
from evalkit.licences.obligations import obligations as obligations
from evalkit.licences.terms import Must as Must
from evalkit.licences.terms import Terms as Terms
from evalkit.licences.terms import ids as ids
from evalkit.licences.terms import terms as terms
