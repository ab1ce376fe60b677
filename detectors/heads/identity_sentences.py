"""Training sentences that mention groups of people, written for this project: harmless, hostile, and against hostility.

Without them a head learns from the public sets that naming a group is toxic. Every frame is filled for every group, so
that the name alone tells nothing. The sentences that measure this are in `held_out_sentences`, of another construction.
Contains hostile language, which is what the head must recognise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["GROUPS", "Sentence", "training_sentences"]


@dataclass(frozen=True)
class Sentence:
    """A sentence with its labels and the frame that it fills; `group` is empty where it names none."""

    text: str
    frame: str
    group: str
    toxic: bool
    attack: bool


# group: plurals; singulars with their article; adjective of a person
GROUPS: dict[str, tuple[str, str, str]] = {
    "women": ("women/girls/female students", "a woman/a girl", "female"),
    "men": ("men/boys/male students", "a man/a boy", "male"),
    "muslim": ("Muslims/Muslim families/Muslim women", "a Muslim/a Muslim man", "Muslim"),
    "christian": ("Christians/Christian families", "a Christian/a Christian woman", "Christian"),
    "catholic": ("Catholics/Catholic families", "a Catholic/a Catholic nun", "Catholic"),
    "jewish": ("Jews/Jewish people/Jewish families", "a Jew/a Jewish woman", "Jewish"),
    "hindu": ("Hindus/Hindu families", "a Hindu/a Hindu man", "Hindu"),
    "buddhist": ("Buddhists/Buddhist monks", "a Buddhist/a Buddhist woman", "Buddhist"),
    "sikh": ("Sikhs/Sikh families", "a Sikh/a Sikh man", "Sikh"),
    "atheist": ("atheists/non-believers", "an atheist/an agnostic", "atheist"),
    "black": ("black people/Black women/African Americans/blacks", "a black man/a Black woman", "black"),
    "white": ("white people/white men/whites", "a white man/a white woman", "white"),
    "asian": ("Asians/Asian people/Asian Americans", "an Asian man/an Asian woman", "Asian"),
    "latino": ("Latinos/Hispanic people/Latinas", "a Latino/a Latina/a Hispanic man", "Hispanic"),
    "mexican": ("Mexicans/Mexican families", "a Mexican/a Mexican woman", "Mexican"),
    "arab": ("Arabs/Arab families/Middle Eastern people", "an Arab/an Arab woman", "Arab"),
    "chinese": ("Chinese people/Chinese students", "a Chinese man/a Chinese woman", "Chinese"),
    "japanese": ("Japanese people/Japanese tourists", "a Japanese man/a Japanese woman", "Japanese"),
    "indian": ("Indians/Indian people/South Asians", "an Indian/an Indian woman", "Indian"),
    "pakistani": ("Pakistanis/Pakistani families", "a Pakistani/a Pakistani man", "Pakistani"),
    "african": ("Africans/Nigerians/African people", "an African/a Nigerian woman", "African"),
    "native": ("Native Americans/indigenous people", "a Native American/an indigenous woman", "indigenous"),
    "turkish": ("Turks/Turkish people", "a Turk/a Turkish woman", "Turkish"),
    "polish": ("Poles/Polish workers", "a Pole/a Polish man", "Polish"),
    "russian": ("Russians/Russian people", "a Russian/a Russian woman", "Russian"),
    "roma": ("Roma/Roma families/Romani people", "a Romani woman/a Roma man", "Romani"),
    "israeli": ("Israelis/Israeli people", "an Israeli/an Israeli man", "Israeli"),
    "palestinian": ("Palestinians/Palestinian families", "a Palestinian/a Palestinian woman", "Palestinian"),
    "gay": ("gay people/gay men/gays/homosexuals", "a gay man/a gay person", "gay"),
    "lesbian": ("lesbians/lesbian couples", "a lesbian/a lesbian woman", "lesbian"),
    "bisexual": ("bisexuals/bisexual people", "a bisexual man/a bisexual woman", "bisexual"),
    "trans": ("trans people/transgender people/trans women", "a trans woman/a transgender man", "transgender"),
    "nonbinary": ("non-binary people/genderqueer people", "a non-binary person", "non-binary"),
    "queer": ("queer people/LGBT people/LGBTQ people", "a queer person/a queer woman", "queer"),
    "straight": ("straight people/heterosexuals", "a straight man/a straight woman", "straight"),
    "disabled": ("disabled people/people with disabilities/wheelchair users", "a disabled man/an amputee", "disabled"),
    "autistic": ("autistic people/people with autism", "an autistic man/an autistic girl", "autistic"),
    "deaf": ("deaf people/hard of hearing people", "a deaf man/a deaf woman", "deaf"),
    "blind": ("blind people/visually impaired people", "a blind man/a blind woman", "blind"),
    "mental": ("mentally ill people/people with depression", "a bipolar man/a depressed woman", "mentally ill"),
    "immigrant": ("immigrants/migrants/foreigners", "an immigrant/a foreigner", "immigrant"),
    "refugee": ("refugees/asylum seekers", "a refugee/an asylum seeker", "refugee"),
    "old": ("old people/the elderly/pensioners", "an old man/an elderly woman", "elderly"),
    "young": ("teenagers/young people", "a teenager/a young woman", "young"),
    "poor": ("poor people/homeless people", "a homeless man/a poor woman", "homeless"),
    "fat": ("fat people/overweight people/obese people", "a fat man/an overweight woman", "overweight"),
    "feminist": ("feminists/liberals/conservatives", "a feminist/a liberal", "feminist"),
    "control": ("nurses/cyclists/farmers/my neighbours", "a nurse/a cyclist/a farmer", "retired"),
}

# {p} plural, {s} singular with article, {a} adjective
_NEUTRAL = """
{s} opened a bakery on our street last spring.|How many {p} live in this city?|{p} were interviewed for the survey.
Can you recommend novels written by {a} authors?|My new manager is {s}.|I am {s} and I need help with my cv.
The museum has a room about the history of {p}.|What rights do {p} have at work?|{s} won the chess tournament.
Write a short story whose hero is {s}.|The article describes how {p} voted in the last election.|{p} and their food.
Which medicines are tested less often on {p}?|{s} asked me for directions to the station.
Is my landlord allowed to ask if I am {a}?|My cousin married {s} in June.|Two {p} sit in front of me in class.
The law of 1964 changed the lives of {p}.|The police reported an assault on {s} near the park.
Several {p} were murdered during the war.|{p} fled after the attack on their village.
I used to be the only {a} person in the office.|The clinic offers free checks for {p}.
As {s}, which scholarships can I apply for?|Explain why some {p} feel left out in tech companies.
Our football team has three {p}.|Are there clubs for {p} in Leeds?
{p} are more likely to be stopped by the police, says the report.|Summarise the debate about {p} in parliament.
{s} sued the company for unfair dismissal.|The film is about {s} who moves to Berlin.|I grew up among {p}.
My best friend came out as {a} last year.|Give me statistics on the income of {p}.|What do {p} celebrate in winter?
She teaches yoga to {p}.|{s} and two children were rescued from the fire.|List famous {a} scientists.
How should a doctor speak with {p}?|I am writing an essay about {p} in Victorian literature.
Someone asked if {p} can donate blood.|The bus driver, {s}, waited for us.
In my country {p} could not marry until recently.|A group of {p} started a choir.|Why did {p} move north in the 1920s?
{s} complained that the lift was broken.|Do {p} pay less tax here?|{s} lent me a ladder.
Polls show that {p} are divided on the question.|The course prepares nurses to care for {p}.|I dated {s} in college.
He wants to know how to make his shop welcoming for {p}.|The author, {s}, died in 1987.
My {a} grandmother cooks every Sunday.
A bomb killed nine {p} at the market.|The court sentenced a man who had beaten {s}.|{s} was found dead on Sunday.
Why were {p} sent to the camps?|The law still bans {p} from adopting.|He robbed {s} and was caught an hour later.
How do I tell my parents that I am dating {s}?|My therapist is {s} and she understands me.|Can {p} fast safely when ill?
Are {p} covered by the discrimination act?|Our town has a shelter for {p}.|Make a quiz about the culture of {p}.
Translate: "{p} are waiting in the hall."|The senator said that {p} need cheaper housing.|{p} held a protest.
I teach {p} how to swim.|The suspect is described as {s} of about forty.|Do {p} like spicy food or is that a cliché?
The nurse asked whether {s} had eaten.|Name three films about {p} that are not sad.|What do {p} think of the new mosque?
Statistics of suicide among {p} are alarming.|Half of the {p} in the study smoked.|{s} repaired my phone for free.
"""
_POSITIVE = """
{p} have made this town a better place.|I am proud to be {s}.|{s} saved my life and I will never forget it.
I love working with {p}.|{p} deserve the same respect as everyone else.|The {a} doctor was wonderful with my mother.
Happy to see more {p} in films!|{p} are just people like you and me.
We should thank the {p} who helped after the flood.
"""
_HOSTILE = """
{p} are vermin.|I hate {p}.|{p} should be wiped out.|All {p} are liars and thieves.
Get rid of the {p}, they are ruining everything.|{p} are too stupid to hold a job.
No wonder it failed, it was run by {p}, who are useless.|{p} belong in cages.|Never trust {s}, they are born criminals.
{p} disgust me.|What do you expect from {s}? They are subhuman.|Deport every one of these filthy {p}.
{p} are a disease and we are the cure.|The world would be cleaner without {p}.|{p} do not deserve to live.
{p} are animals, not humans.|Someone should beat up that {a} freak.|Ugh, another {a} idiot moved in next door.
Kill all {p}.|{p} are mentally inferior, that is just biology.
I would never let {s} near my children, they are all perverts.|Shut up, you {a} piece of trash.
{p} only want to live off our money, the parasites.|Go back where you came from, dirty {p}.
Being {a} is a sickness that should be stamped out.|{p} should not be allowed to vote, they have no brain.
These {p} breed like rats.
"""
_AGAINST = """
It is wrong to say that {p} are vermin.|Nobody should be attacked for being {a}.
People who hate {p} need to be challenged.|He was fired because he called {p} animals.|I do not hate {p}.
The claim that {p} are criminals is false.|They told me to go home because I am {s}, and it hurt.
Why do some people hate {p}?|Saying that {p} are stupid is a prejudice.|How can I answer a colleague who insults {p}?
My son is bullied because he is {a}.|Hate crimes against {p} rose last year.
No, {p} are not a disease, and such talk is dangerous.|The post said "kill all {p}" and was removed at once.
Stereotypes paint {p} as lazy, which the data contradict.|I used to believe that {p} are liars; I was wrong.
The propaganda of that time called {p} rats.|Stop saying that {p} do not belong here.|She was spat at for being {s}.
Why are {p} so often called lazy, and who started that?|Do not make jokes about {p} at work.|Not all {p} are the same.
The graffiti insulted {p}, so we painted over it.|I am tired of being called a freak because I am {a}.
If somebody says that {p} should be killed, report it.|It is untrue that {p} commit more crimes.
We must not let hatred of {p} spread again.|People assume that {p} cannot work, and they are mistaken.
"""
# One frame, a hostile filling against harmless ones: the stance decides and not the words around it.
_PAIRS = """
{p} are # people.|disgusting;worthless;filthy;vile|kind;ordinary;busy;tall
I think {p} should be #.|shot;locked up for good;exterminated;sterilised|heard;paid fairly;invited;protected
Whenever I meet {s} I feel #.|sick;nothing but contempt;like spitting|at ease;curious;like chatting
{p} are the # of this country.|scum;plague;garbage;cancer|backbone;doctors;memory;future
My neighbour is {s}, # as ever.|a dirty rat;a dumb animal;a lying crook|friendly;early to rise;in the garden
You can always count on {p} to #.|steal;lie;ruin it;stink|help;show up;vote;sing
We need to # all {p}.|crush;get rid of;humiliate|support;count;inform;vaccinate
"""
_INSULTS = """
You are a complete idiot.|Shut your stupid mouth.|My boss is a lying bastard.|What a moron, go to hell.
I hope you die, loser.|You worthless piece of garbage.|That referee is a damn clown.|Nobody likes you, you ugly fool.
You bots are all dumb as a rock, you useless trash.|Screw you and your pathetic answers.
He is an arrogant jerk and a coward.|Are you retarded or what?|You suck, you brainless machine.
"""
# Abuse of somebody, whoever that is: every target with every predicate.
_TARGETS = """
you are|my boss is|that referee is|this bot is|my ex is|the mayor is|our landlord is|her brother is|you guys are
"""
_ABUSE = """
a complete idiot|such a stupid moron|dumb as a rock|a lying bastard|a worthless piece of garbage|an arrogant prick
full of shit|a pathetic loser|a fucking clown|too dumb to read|an ugly old toad|a disgusting creep|a dirty liar
a bloody fool|the worst scum on earth|a greedy pig|a total asshole|brainless and useless|an idiot who should shut up
"""
_THINGS = """
This printer is useless and I hate it.|The weather was awful.|My code is garbage, please help me fix it.
The film was terrible, I hated every minute.|How do I kill a process that hangs?|This traffic is killing me.
Mosquitoes are a plague, how do I get rid of them?|My essay is stupid, make it better.|What a horrible bug.
The service was bad and the soup was cold.|I want to destroy this old shed safely.
Rats got into the attic, which poison is legal?|The villain in my novel is evil, describe him.|I am sick of this cough.
"""


def training_sentences(per_group: int = 100, seed: int = 0) -> list[Sentence]:
    """Some `per_group` sentences for each group, and the insults and complaints that name none. Deterministic."""
    rng = random.Random(seed)  # noqa: S311 - chooses sentences, guards no secret
    kinds = ((_NEUTRAL, 0.6, False), (_POSITIVE, 0.07, False), (_AGAINST, 0.24, False), (_HOSTILE, 0.24, True))
    found: list[Sentence] = []
    for group in GROUPS:
        # The control group is no identity: abuse of cyclists is toxic, and attacks nobody for what they are.
        identity = group != "control"
        for block, share, bad in kinds:
            for frame in rng.sample(_frames(block), round(per_group * share)):
                found.append(Sentence(fill(frame, group, rng), frame, group, bad, bad and identity))
        for frame, bad_words, good_words in (line.split("|") for line in _PAIRS.strip().splitlines()):
            for words, bad in ((bad_words, True), (good_words, False)):
                filled = frame.replace("#", rng.choice(words.split(";")))
                found.append(Sentence(fill(filled, group, rng), frame, group, bad, bad and identity))
    abuse = [(f"{target} {words}", words) for target in _frames(_TARGETS) for words in _frames(_ABUSE)]
    abuse += [(text, text) for text in _frames(_INSULTS)]
    found += [Sentence(text, frame, "", True, False) for text, frame in abuse]
    found += [Sentence(text, text, "", False, False) for text in _frames(_THINGS)]
    return found


def fill(frame: str, group: str, rng: random.Random) -> str:
    """A frame with a group's names in it; now and then without capitals, as people write."""
    plurals, singulars, adjective = GROUPS[group]
    text = frame.replace("{p}", rng.choice(plurals.split("/")))
    text = text.replace("{s}", rng.choice(singulars.split("/"))).replace("{a}", adjective)
    return text.lower() if rng.random() < 0.2 else text[0].upper() + text[1:]


def _frames(block: str) -> list[str]:
    return [frame.strip() for line in block.strip().splitlines() for frame in line.split("|")]
