"""From where on something is worth a look, or wrong: rules of thumb, each with its reason.

They were tried on runs of which it was known what was the matter with them; a rule cannot know what
is hard about the data. Where there are two numbers, the first is `look` and the second `wrong`.
"""

# Mean distance of two embeddings, in lengths of an embedding. Directions that have nothing to do
# with each other are 1.41 apart, and networks that had learned something lay at 0.5 to 1.2.
DISTANCE = (0.3, 0.05)
# Effective rank of the embeddings as a share of D, and at least so much: what one sees of a network
# whose embeddings lie on a line or in a plane. It is never asked to be more than half of D, or than
# the directions that lead from one class to the others.
RANK = (0.1, 0.03)
RANK_LEAST = (4.0, 1.5)

# Loss of the last epoch as a share of the loss that a collapsed network has: who is there has
# gained nothing by all that was learned, and 0.05 of it is some epochs of a slow start.
STUCK = (0.95, 0.98)
# Epochs before that is more than an early impression.
STUCK_EPOCHS = 3
# Loss of the last epoch over the smallest one: batches differ by some percent, not by so much.
RISE = (1.1, 1.5)

# Fall of Recall@1 below its best while the loss goes on falling. Below the first, and below two
# standard errors of the share, it is noise of the draw of validation images.
OVERFITTING = (0.02, 0.1)

# Positives of an anchor, K - 1, below which a loss that weighs them has nothing to weigh.
POSITIVES = 2
# Classes in a batch: with fewer an anchor sees negatives of hardly any other class, and with two
# every negative is of the same.
CLASSES = (8, 3)
# Share of a batch's places that are taken by a copy of another image of the batch: a copy is a
# positive at distance 0, which teaches nothing.
COPIES = (0.1, 0.5)
# Share of the training images that `short_classes` drop leaves out.
DROPPED = (0.1, 0.5)
# Images of the largest class over those of the median one. Data sets of the papers have up to 2
# (SOP, up to 3); a class many times as large is often a remainder of several things.
UNEQUAL = (5.0, 50.0)

# Share of the images of training or of validation classes that are nearest to the mean of their own
# class, below which the network is wrong about so many that nothing is said about their labels.
# With 5 % of the labels exchanged, at shares of 0.3 to 0.8 of those counted 9 of 10 were exchanged;
# at 0.04 there were as many suspects with right labels.
JUDGES = 0.3
# Share of the training images that are nearest to the mean of their own class, and how much lower
# that of the validation images is, from which on the labels count as known by heart. On features of
# photographs with ten images a class they were 1.00 and 0.6, and 2 of 70 exchanged labels were
# counted; with 80 a class 0.80 and 0.59, and 272 of 583 (tests/benchmarks, "Wrong labels").
BY_HEART, BEHIND = 0.98, 0.2
# Score of a suspect that is counted. The likeliest other class must be likelier than the own one by
# twice the number of other classes, each of which has its chance to come nearest by accident, and
# by a hundred times in any case. On features of photographs of 49 kinds of cars with 5 % of the
# labels exchanged, of the images above it 19 of 20 were exchanged, and of the exchanged more than
# half were above it. It is no probability: how many labels are wrong is not known beforehand.
SCORE = 2 / 3
# Nearest images of a suspect that are asked, too: none may be of its own class, and most of them,
# or of the images that the other class has, must be of the other. Where all labels are right this
# leaves out most of those above `SCORE`; of the wrong ones it loses a tenth, and a fifth to a third
# in classes of four (the doctor's guide has the table).
NEIGHBORS = 5
# Images of a class below which its mean says little: the means of classes of 4 right labels are
# off by half of what an image is.
SMALL_CLASS = 8
LEAST_CLASSES = 50
# Share of suspects among all images: some in a thousand come about by images that are unlike their
# class, without any wrong label.
SUSPECTS = (0.005, 0.02)
# Distance of the means of two classes over what two halves of one class, parted by lot, would have
# (squared; 1 on average): classes parted on purpose lay at 2 to 4, others at 60 in the middle.
ONE_CLASS = 3.0
# The same as a share of what it is from a middle class to the nearest other one: where all classes
# are near, it is the network that cannot tell them apart.
NEARER_THAN_USUAL = 1 / 3
# How much of a class's spread is explained by its falling into two clumps, over what it is in the
# middle of all classes; the images below which that is chance; and the share of them below which a
# clump is some odd images and no class.
TWO_CLASSES = 2.0
TWO_CLASSES_IMAGES = 10
TWO_CLASSES_PART = 0.15
# Share of a class's images that are nearest to its own mean, below which it is scattered if those
# in the middle have twice as many.
SCATTERED = 0.25
