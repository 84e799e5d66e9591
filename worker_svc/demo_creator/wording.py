"""The wording of an article, in English and in Chinese."""

from __future__ import annotations

from worker_svc.demo_creator.brief import Block, Brief, article, section, terms


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
    last_line = "This text was put together from fixed sentences by the demo creator, which is no language model."
    return article(brief, opening + lead, sections, last_line)


def chinese(brief: Brief) -> list[Block]:
    topic = brief.topic
    tone = f"全文力求以“{brief.tone}”的语气来写。" if brief.tone else ""
    opening = brief.pick(
        f"谈到“{topic}”，很多人先有了看法，后来才去找依据。",
        f"“{topic}”正在从少数人的话题，变成许多人必须面对的问题。",
        f"真正了解“{topic}”之后，往往会发现问题比答案更值得思考。",
    )
    lead = "本文把要点依次理清：它现在处于什么阶段，哪些问题起决定作用，以及怎样开始才不会走弯路。"
    sections = [
        *section(
            "一、现状与背景",
            f"“{topic}”能走到今天，大致有三个原因：尝试的成本降低了，普通团队也能负担；实践的人多了，"
            "哪些做法有效、哪些只是听起来有效，逐渐有了公论；早期的失误已经过去一段时间，人们愿意坦率地谈论它们。",
            "没有改变的是，结果仍然取决于用心的程度。同样的方法，在一处见效，在另一处却失灵，差别往往不在工具，"
            "而在动手之前有没有把目标说清楚。",
        ),
        *section(
            "二、关键问题",
            "首先要回答的是：做成之后，谁的什么事情会变得更好？不能衡量的目标，等于没有目标。"
            "其次要问：如果判断错了，代价有多大？可以挽回的事，不妨边做边学；不能挽回的事，就要先想透再动手。",
            brief.pick(
                "最后要问：一年之后由谁来维护？许多好的开端，都因为无人负责而不了了之。",
                "最后要问：为此要放弃什么？投入这里的时间和精力，必然会从别处减少。",
            ),
            f"针对本文的写作要求，这里特别说明：{brief.requirements}" if brief.requirements else "",
        ),
        *terms(
            brief,
            "值得留意的关键词",
            "下面这些词会反复出现，每一个都值得多想一步：",
            f"：它给“{topic}”带来了什么，又在哪里不再适用",
        ),
        *section(
            "三、如何着手",
            "建议从一个小而真实的场景开始，并且有明确的负责人。先写下预期，再去实施，然后对照结果。"
            "两个星期足以判断预期是否可靠，即使停下来，损失也很有限。",
            "确认有效之后，再一步一步扩大范围，并把经验留在后来的人找得到的地方。需要重新发现一遍的进步，只有一半的速度。",
        ),
        *section(
            "四、风险与边界",
            f"讨论“{topic}”时，也要看到它的边界。数据不足时，结论应当保留余地；涉及他人权益时，应当先征得同意；"
            "效果无法解释时，宁可慢一点，也不要把责任交给流程。承认不知道，是可靠工作的一部分。",
        ),
        *section(
            "五、小结",
            f"总的来说，“{topic}”会回报那些从小处着手、如实衡量、不急于下结论的人。这并不需要很大的预算，"
            "需要的是清晰的目标、公平的比较，以及在事实面前改变方向的勇气。",
        ),
    ]
    return article(brief, opening + lead + tone, sections, "本文由演示程序用固定句式拼成，它不是语言模型。")
