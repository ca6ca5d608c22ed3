"""How the report calls the methods of Tables 3 and 4, and what it says above the tables of the applications."""

METHODS = {
    "value_neurons": "value neurons, ratio chosen on validation",
    "value_neurons_cv": "value neurons, ratio chosen on training",
    "lcd": "latent correctness direction",
    "lcd_logistic": "logistic regression",
    "verbal": "verbal confidence",
    "token": "token confidence",
    "question_length": "question length",
    "dopamine": "dopamine neurons",
    "implicit_prm": "implicit reward model",
    "random": "random candidate",
    "greedy": "greedy decoding",
    "best_of_n": "best of n by value probe",
    "majority": "majority of n",
}
"""How the report calls the methods of Tables 3 and 4."""

CAPTIONS = {
    "transfer": (
        "Value neurons that two probes share, as intersection over union, the mean over pairs of different "
        "seeds and, in brackets, lowest and highest. Probes of one seed start from the same weights in every "
        "run, which alone makes them alike: “same seed” shows by how much."
    ),
    "importance": "Rank correlation of the importances of all neurons, with its interval over neurons.",
    "table3": (
        "Predicting from the question alone whether the answer will be right (the paper’s Table 3), on "
        "validation problems. Brier score and calibration error are those of probabilities calibrated on "
        "training problems."
    ),
    "confidence_contrasts": (
        "AUC of value neurons less that of another method, with paired intervals over problems. “all/all”: "
        "the mean over runs."
    ),
    "table4": (
        "Answers to validation problems (the paper’s Table 4). Tokens count everything generated, discarded "
        "candidates included; “best of n” and “majority” may spend on each problem what the dopamine search "
        "spent on it. Seconds stand in table4.csv."
    ),
    "search_contrasts": "Accuracy of the dopamine search less another method’s, seeds averaged within each problem.",
    "neurons": (
        "Activation of single neurons, averaged over kept paragraphs of validation responses, against "
        "Monte-Carlo TD errors. The sign of each neuron is that of its correlation on training problems. “mean”: "
        "over the neurons of a kind."
    ),
    "ablation": (
        "The same tokens read again with neurons of earlier layers held at zero: dopamine neurons beside "
        "their original activation, and against TD errors."
    ),
    "ablation_contrasts": (
        "Value neurons held less random neurons held, mean over draws. “correlation apart” leaves out dopamine neurons "
        "that are themselves among those held: the residual stream carries a zero on to later layers. Intervals cover "
        "the draws of random neurons; p flips signs of problems and takes the draws as they are."
    ),
}
"""The caption of every table."""
