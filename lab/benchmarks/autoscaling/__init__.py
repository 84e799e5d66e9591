"""Workers scaled from none to some and back, by what a scheduler tells KEDA, under a load that comes in bursts."""
