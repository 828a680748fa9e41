"""Word lists for English: what the rules of this room know of the language. Data only, all in lower case."""

from __future__ import annotations

import re

from memo_ray.corpus import words

MONTHS = frozenset("january february march april may june july august september october november december".split())
DAYS = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())
ORDINALS = frozenset("first second third fourth fifth last".split())
NUMBER_WORDS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion".split()
)
FUNCTION_WORDS = words.FUNCTION_WORDS | frozenset("all behind beside beyond called every named no not per".split())
"""Words that carry no content of their own; they are left out when texts are compared."""

PREPOSITIONS = frozenset("in at on near to above beside from for by with".split())
WHERE = frozenset("in at on near above beside".split())
WHEN = {
    "in": "When", "on": "When", "every": "When",
    "until": "Until when", "since": "Since when", "from": "From which year",
}  # fmt: skip
"""How to ask for a date after a preposition."""
MEASURES = frozenset("tall long wide high deep old".split())
TITLES = frozenset("captain doctor king lady lord president professor queen saint sir".split())
PEOPLE = frozenset(
    "actor actress admiral alderman ambassador apothecary archaeologist archbishop architect artist astronomer "
    "athlete author baker ballerina banker barber baron biologist bishop blacksmith boatbuilder botanist brewer "
    "bricklayer builder butcher captain cardinal carpenter cartographer cellist chancellor chef chemist chief "
    "clerk clockmaker coach cobbler collector colonel commander composer conductor cook count countess courier "
    "critic dancer dentist designer detective diplomat director diver doctor driver duchess duke economist editor "
    "electrician emperor empress engineer engraver explorer farmer farrier ferryman filmmaker fisherman founder "
    "gardener general geographer geologist goldsmith governor guard guide guitarist gunner harbourmaster "
    "headmaster herald historian hunter innkeeper inventor jeweller journalist judge keeper king knight lawyer "
    "lecturer librarian lieutenant linguist locksmith magistrate maker manager mapmaker marquis mason master "
    "mathematician mayor mechanic merchant midwife miller miner minister missionary monk mountaineer musician "
    "naturalist navigator novelist nun nurse officer optician organist painter pastor peasant pharmacist "
    "philosopher photographer physician physicist pianist pilot pirate playwright plumber poet policeman "
    "politician potter preacher president priest prince princess printer producer professor programmer "
    "psychologist publisher queen rabbi referee reporter researcher saddler sailor scholar scientist sculptor "
    "secretary senator sergeant shepherd sheriff shipbuilder shipwright shoemaker singer smith soldier speaker "
    "spy stonemason student sultan surgeon surveyor swimmer tailor teacher technician trader translator treasurer "
    "violinist viscount warden watchmaker weaver widow widower winner woodcutter worker writer zoologist".split()
)
"""Nouns for what a person does or is; before a name they say that it is a person's."""
KIN = frozenset(
    "ancestor apprentice assistant aunt bride brother child classmate colleague cousin daughter descendant father "
    "fiance friend grandchild granddaughter grandfather grandmother grandnephew grandson granduncle "
    "great-granddaughter great-grandson groom half-brother half-sister heir husband mother neighbour nephew niece "
    "partner predecessor pupil rival sister son stepfather stepmother stepson student successor teacher twin "
    "uncle widow wife".split()
)
"""Nouns of relations between people."""
PLACES = frozenset(
    "canton capital city continent country county district empire hamlet island islands kingdom parish port "
    "province region republic river settlement state suburb territory town valley village".split()
)
"""Nouns that `of` ties to a name: the town of NAME."""
THINGS = PLACES | frozenset(
    "abbey academy act agreement airport archive army association avenue award bakery band bank barracks basin "
    "battle bay bill boat brewery bridge cape castle cathedral cave cemetery channel charter choir church cinema "
    "cliff club coast code college committee company congress convention council courier court creek dam desert "
    "district dock embassy empire estate factory fair falls farm federation ferry festival field fleet forest "
    "fort fortress foundation foundry fountain gallery garden gate glacier hall harbor harbour hill hospital "
    "hotel house inn institute isles lagoon lake lane law league library lighthouse line mansion market mill mine "
    "ministry monastery monument moor mosque mountain museum newspaper observatory ocean office orchestra order "
    "palace park parliament party pass peak peninsula pier plain plateau port prison prize project province "
    "quarry railway range reef road rock room route ruins school sea ship shop siege society square stadium "
    "station strait street synagogue temple theatre tower train treaty tribe tunnel union university valley "
    "volcano wall war well windmill wood woods works yard zoo".split()
)
"""Nouns that end a name of something that is no person, and places that one can be in."""
WORKS = frozenset("album biography book documentary film game movie musical novel play poem series show song".split())
GENERAL = WORKS | frozenset(
    "band building club comedy company concert courthouse drama episode franchise group hospital magazine match "
    "newspaper organisation organization programme school season sequel ship sitcom stadium story team tournament "
    "university".split()
)
"""Nouns for works, organisations and the like, of which a pair must say which one is meant."""
ADJECTIVE = re.compile(
    r".*(?:ing|ed|est|ous|ful|less|ish|ive|ern|ary|able|ible|ial|ical|ent)$|(?:big|black|blue|bright|brown|cold|dark|dead|"
    r"deep|dry|early|famous|fine|first|fourth|good|great|green|grey|high|hot|huge|last|late|little|local|long|low|main|"
    r"modern|narrow|new|next|old|only|own|poor|red|rich|royal|sacred|second|short|small|tall|third|tiny|upper|vast|warm|"
    r"wet|white|wide|wild|yellow|young)$"
)
"""What stands before a noun without being one."""
MANNER = frozenset("addition case charge fact favour front general honour memory order particular time turn".split())
"""Nouns of set phrases (`in memory of`), which answer nothing."""
CROWD = frozenset("people men women crew villagers workers guests citizens members".split())
NO_OBJECT = PREPOSITIONS | frozenset("until since during after before between because when while that as every".split())

_PAST_FORMS = (
    "become became, begin began, blow blew, break broke, bring brought, build built, burst burst, buy bought, "
    "cast cast, catch caught, choose chose, come came, cost cost, cut cut, deal dealt, dig dug, draw drew, drink "
    "drank, drive drove, eat ate, fall fell, feed fed, feel felt, fight fought, find found, flee fled, fly flew, "
    "forbid forbade, forget forgot, freeze froze, get got, give gave, go went, grind ground, grow grew, hang "
    "hung, hear heard, hide hid, hit hit, hold held, hurt hurt, keep kept, know knew, lay laid, lead led, leave "
    "left, lend lent, let let, lie lay, light lit, lose lost, make made, mean meant, meet met, pay paid, put put, "
    "read read, ride rode, ring rang, rise rose, run ran, say said, see saw, seek sought, sell sold, send sent, "
    "set set, shine shone, shoot shot, shut shut, sing sang, sink sank, sit sat, sleep slept, speak spoke, spend "
    "spent, spread spread, stand stood, steal stole, stick stuck, strike struck, swear swore, swim swam, take "
    "took, teach taught, tell told, think thought, throw threw, understand understood, wear wore, weave wove, win "
    "won, write wrote"
)
BASE_OF = {past: base for base, past in (pair.split() for pair in _PAST_FORMS.split(", "))}
PAST_OF = {base: past for past, base in BASE_OF.items()}
_OTHER_FORMS = (
    "written write, drawn draw, given give, taken take, known know, broken break, worn wear, woven weave, spoken "
    "speak, chosen choose, sung sing, drunk drink, sunk sink, begun begin, swum swim, driven drive, grown grow, "
    "hidden hide, founded find, men man, women woman, children child, does do, did do, done do, goes go, "
    "gone go, "
    "has have, had have, is be, are be, was be, were be, been be"
)
_OTHERS = {form: base for form, base in (pair.split() for pair in _OTHER_FORMS.split(", "))}  # noqa: C416
STEM_OF = BASE_OF | _OTHERS
"""Irregular forms and their base."""
COPULAS = ("is", "are", "was", "were")

ASKING_WORDS = frozenset(
    "called date day far kind located long many much name number often old part person place profession tall "
    "thing time type year".split()
)
"""Words that a question may bring along without their standing in the text."""
OPENERS = frozenset(
    "after at before by for from how in of on since to under until what when where which who whom whose why "
    "with".split()
)
"""First words of a question."""
