"""What a card's metadata may be, checked offline against a written schema; faults have paths."""

from evalkit.card_schema.checking import check as check
from evalkit.card_schema.checking import check_eval_results as check_eval_results
from evalkit.card_schema.checking import validate as validate
from evalkit.card_schema.fault import Fault as Fault
from evalkit.card_schema.fault import Kind as Kind
from evalkit.card_schema.ids import id_fault as id_fault
from evalkit.card_schema.keys import kind_of as kind_of
from evalkit.card_schema.keys import meant_key as meant_key
