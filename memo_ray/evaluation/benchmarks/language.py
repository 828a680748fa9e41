"""Is a text English? A vote of function words, with no model and no package.

The paper filters with LangDetect. For the long documents of BrowseComp-Plus a count of the commonest words of a
dozen languages decides the same: they make up a third of running text, and hardly any is shared between languages.
"""

from __future__ import annotations

import re
from collections import Counter

SHOWN = 20_000
"""Characters of a text that are looked at."""
FEW = 3
"""With fewer function words than this only the script decides."""
LATIN_SHARE = 0.8
"""Letters of an English text that are Latin, at least."""

WORD = re.compile(r"[^\W\d_]+")
LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
FUNCTION_WORDS = {
    "en": "the of and to in is was that for with as on by at from his he are this which an be it were her she had",
    "de": "der die und das von zu den mit ist im für auf ein eine des dem nicht sich auch als an er es sie war wurde",
    "fr": "le la les et des en du un une est que dans pour qui par sur au il elle pas plus ce avec sont aux été",
    "es": "el la los las y en del que un una es por con para se su al lo como más fue este son entre pero",
    "it": "il di che la e un una per con del della non sono si le dei nel alla gli da è più come anche al",
    "pt": "o a os as e do da em um uma que para com não por se no na dos mais como foi ao são das",
    "nl": "de het een van en in is dat op te zijn met voor niet aan er was door ook als bij naar werd uit",
    "sv": "och att det som en på är av för med den till inte ett om har de han var men vid från",
    "da": "og at det som en på er af for med den til ikke et om har de han var men ved fra",
    "pl": "i w z na do się nie jest że to od po jak za przez był dla są o ale oraz",
    "tr": "ve bir bu da de için ile olarak çok daha olan gibi en kadar sonra ne o ise var",
    "id": "yang dan di untuk dengan pada adalah dari ini dalam tidak itu oleh sebagai ke akan juga",
}
"""Language → its commonest words."""
LANGUAGES: dict[str, list[str]] = {}
for _language, _words in FUNCTION_WORDS.items():
    for _word in set(_words.split()):
        LANGUAGES.setdefault(_word, []).append(_language)


def is_english(text: str) -> bool:
    """Whether most of the text's function words are English; of a text with few, whether its letters are Latin."""
    shown = text[:SHOWN]
    letters = [character for character in shown if character.isalpha()]
    if not letters or sum(bool(LATIN.match(letter)) for letter in letters) < LATIN_SHARE * len(letters):
        return False
    votes: Counter[str] = Counter()
    for word in WORD.findall(shown.casefold()):
        for language in LANGUAGES.get(word, ()):
            votes[language] += 1
    if votes.total() < FEW:
        return True
    return votes["en"] == max(votes.values())
