"""The data sets that `jaxsal prepare` builds, and their names in text."""

DATASETS = {
  "avad": "AVAD",
  "ave": "AVE",
  "coutrot1": "Coutrot 1",
  "coutrot2": "Coutrot 2",
  "demo": "the demo set",
  "demo_sound": "the demo set with sound",
  "dhf1k": "DHF1K",
  "diem": "DIEM",
  "etmd": "ETMD",
  "hollywood2": "Hollywood-2",
  "ledov": "LEDOV",
  "own": "your own videos",
  "salicon": "SALICON",
  "summe": "SumMe",
  "ucf": "UCF-Sports",
}
