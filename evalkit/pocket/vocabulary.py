"""The 64 words of the pocket language: short, common, each in exactly one group."""

ANIMALS = tuple("ant bee cat cow dog fish fox hen pig".split())
COLORS = tuple("black blue brown gold gray green pink red white".split())
FOODS = tuple("bean bread cake corn egg ham jam rice soup".split())
PLACES = tuple("barn cave farm hill lake park pond road shop".split())
THINGS = tuple("bag ball bed book box cup door hat key".split())
QUALITIES = tuple("big calm cold dry fast hot loud new slow soft".split())
NAMES = tuple("ann ben eva ian kim leo mia sam tom".split())

GROUPS = {
    "animal": ANIMALS,
    "color": COLORS,
    "food": FOODS,
    "place": PLACES,
    "thing": THINGS,
}
NOUNS = tuple(word for group in GROUPS.values() for word in group)
EVERY_WORD = NOUNS + QUALITIES + NAMES
