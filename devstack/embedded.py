"""The embedded stack: the whole cloud in one process."""

from devstack.place import Place, StackFailed


class Embedded:
    """Builds the test guest and starts the one process that is the cloud.

    :param place: where its files lie.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def start(self) -> None:
        """Start the process if it is not running, and wait until its hosts are up.

        :raises StackFailed: when it does not come up.
        """
        raise StackFailed("the embedded cloud's builder is not there yet")
