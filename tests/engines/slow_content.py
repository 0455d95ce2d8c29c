"""A rule and a body that together keep both YARA matchers busy for many seconds.

Not slower still: libyara looks at its clock every few thousand bytes, and a rule that needs a minute for those would
hold the test as long.
"""

SLOW_RULE = "rule slow { strings: $a = /a.{1,100}d/s condition: $a }"
SLOW_CONTENT = b"abacac" * 300_000
