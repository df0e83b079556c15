"""Sylpheed: the ancestor of Claws Mail, with the same files at other places."""

from claws import Claws


class Sylpheed(Claws):
    name, title, package = "sylpheed", "Sylpheed", "sylpheed"
    main_window = r"Sylpheed"
    folder, settings = ".sylpheed-2.0", "sylpheedrc"

    def command(self):
        return [self.name]
