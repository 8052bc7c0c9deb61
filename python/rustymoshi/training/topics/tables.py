"""What the built-in model can talk about: `talk.txt` and `facts.txt` (one topic per heading) and the tables here."""

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Spain": "Madrid", "England": "London", "Portugal": "Lisbon",
    "Austria": "Vienna", "Greece": "Athens", "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Russia": "Moscow",
    "Japan": "Tokyo", "China": "Beijing", "Egypt": "Cairo", "Canada": "Ottawa", "Ireland": "Dublin", "Hungary": "Budapest",
    "Belgium": "Brussels", "Denmark": "Copenhagen", "Finland": "Helsinki", "Cuba": "Havana",
}
ANIMAL_SOUNDS = {
    "dog": "woof woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack quack", "pig": "oink oink", "lion": "roar",
    "horse": "neigh", "bird": "tweet tweet", "frog": "ribbit", "owl": "hoo hoo", "bee": "buzz", "snake": "hiss", "mouse": "squeak",
}
BABIES = {"dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "horse": "foal", "duck": "duckling", "bear": "cub", "hen": "chick"}
OPPOSITES = {
    "hot": "cold", "cold": "hot", "big": "small", "small": "big", "good": "bad", "bad": "good", "up": "down", "left": "right",
    "day": "night", "fast": "slow", "slow": "fast", "old": "young", "rich": "poor", "happy": "sad", "open": "closed", "black": "white",
    "white": "black", "long": "short", "wet": "dry", "hard": "soft", "early": "late", "loud": "quiet", "full": "empty", "strong": "weak",
}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
           "eighteen nineteen twenty").split()
SPELLINGS = "cat dog sun hat bed tea yes red cup fish bird tree blue moon book milk".split()
TRUE_OR_NOT = {
    "ice cold": "Yes, ice is cold.", "ice hot": "No, ice is cold.", "fire hot": "Yes, fire is hot.", "fire cold": "No, fire is hot.",
    "sugar sweet": "Yes, sugar is sweet.", "sugar salty": "No, sugar is sweet.", "a lemon sour": "Yes, a lemon is sour.",
    "a lemon sweet": "No, a lemon is sour.", "the sea salty": "Yes, the sea is salty.", "a mouse big": "No, a mouse is small.",
    "an elephant big": "Yes, an elephant is big.", "an elephant small": "No, an elephant is big.", "a stone hard": "Yes, a stone is hard.",
    "a stone soft": "No, a stone is hard.", "water wet": "Yes, water is wet.", "a cat an animal": "Yes, a cat is an animal.",
    "an apple a fruit": "Yes, an apple is a fruit.", "an apple an animal": "No, an apple is a fruit.",
}
CAN_IT = {
    "birds fly": "Yes, most birds can fly.", "dogs fly": "No, dogs cannot fly.", "fish swim": "Yes, fish can swim.",
    "cats swim": "Yes, but they do not like it.", "elephants fly": "No, elephants cannot fly.", "fish talk": "No, fish cannot talk.",
    "dogs talk": "No, but they can bark.", "stones swim": "No, stones sink.", "wood swim": "Yes, wood floats.",
}
LIKES = {
    "pizza": "I cannot eat, but pizza sounds good.", "dogs": "Yes, dogs are good friends.", "cats": "Yes, but they eat little birds.",
    "chocolate": "I hear chocolate is lovely.", "rain": "Yes, rain sounds nice.", "snow": "Yes, snow is quiet and white.",
    "the sea": "Yes, I like the sound of waves.", "children": "Yes, children ask good questions.", "mathematics": "Yes, numbers are fun.",
    "flowers": "Yes, flowers make people happy.", "mondays": "Every day is fine for me.", "computers": "Of course, I live in one.",
}
REPEATS = [
    "The sun is shining.", "I like apples.", "My dog is big.", "It is a nice day.", "We go home now.", "The cat sits on the table.",
    "Good things take time.", "I have a red car.", "She reads a book.", "The bird sings in the tree.", "Please open the door.",
    "Water is good for you.", "Two and two is four.", "Nice to see you.", "The moon is bright tonight.", "I want some bread.",
]
UNKNOWN = [
    "how do i repair my bicycle", "who is the prime minister of canada", "what is the price of gold", "how far is it to the station",
    "what is quantum physics", "explain the stock market", "who won the world cup", "what did my sister say", "how do engines work",
    "where are my keys", "what is the square root of two", "which shoes should i buy", "how tall is the tower", "how deep is the ocean",
    "when does the train leave", "what is the best restaurant here", "why is my neighbor so loud", "how do i fix the printer",
    "what is the population of china", "how do airplanes fly", "who invented the telephone", "what is in this box", "who is the richest man",
    "what is the speed of light", "how do i cook a turkey", "what does this word mean", "how many people live in london",
    "what is my phone number", "where did i park my car", "what is the tax on cars", "who is that singer", "how do magnets work",
    "translate this for me", "what is the law about that", "how long is the wall of china", "can you book a hotel for me",
    "what should i name my baby", "how do i learn the guitar", "what is wrong with my knee", "which bus goes to the airport",
]
