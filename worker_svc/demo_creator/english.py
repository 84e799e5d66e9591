"""The English wording of an article."""

from __future__ import annotations

from worker_svc.demo_creator.brief import Block, Brief, article, section, terms

LAST_LINE = "This text was put together from fixed sentences by the demo creator, which is no language model."


def english(brief: Brief) -> list[Block]:
    topic = brief.topic
    tone = f" The tone it aims for: {brief.tone}." if brief.tone else ""
    opening = brief.pick(
        f"“{topic}” is a subject on which opinions are formed faster than they are checked.",
        f"Few people meet “{topic}” by choice, and yet many have to decide something about it.",
        f"Whoever looks into “{topic}” soon finds more answers than questions.",
    )
    lead = (
        " This article puts the essentials in order: where the subject stands, which questions decide it, and how to"
        f" begin without regretting it later.{tone}"
    )
    sections = [
        *section(
            "Where things stand",
            f"Three things have brought “{topic}” to where it is now. The means have become cheap enough to try, "
            "enough people have tried them to tell what holds, and the first mistakes are old enough to be talked "
            "about.",
            "What has not changed is that results depend on care. The same approach does well in one place and "
            "badly in another, and the difference is rarely the tool. It is how clearly the aim was put before "
            "the work began.",
        ),
        *section(
            "The questions that decide",
            "Before anything else, say what should be better afterwards, and for whom. An aim that cannot be "
            "measured is no aim. Next, ask what it costs to be wrong: where a mistake can be taken back, trying "
            "is cheaper than planning; where it cannot, it is the other way about.",
            brief.pick(
                "Last, ask who will look after it in a year. Much that begins well ends for want of an owner.",
                "Last, ask what will be given up for it. Time spent here is missing somewhere else.",
            ),
            f"The brief for this article asks for the following: {brief.requirements}" if brief.requirements else "",
        ),
        *terms(
            brief,
            "Terms to know",
            "These terms come up again and again, and each deserves a second look:",
            f": what it adds to “{topic}”, and where it stops helping",
        ),
        *section(
            "How to begin",
            "Begin with one case that is small, real and somebody's own. Write down what you expect, do it, and "
            "compare. Two weeks are enough to learn whether the expectation was sound, and short enough to stop "
            "without loss.",
            "Then widen it step by step, and keep what was learnt where the next person will find it. Progress "
            "that has to be discovered twice is half as fast.",
        ),
        *section(
            "In short",
            f"“{topic}” rewards those who start small, measure honestly and decide late. None of that needs a "
            "large budget. It needs a clear aim, a fair comparison and the willingness to change course.",
        ),
    ]
    return article(brief, opening + lead, sections, LAST_LINE)
