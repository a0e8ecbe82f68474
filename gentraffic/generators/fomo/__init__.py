"""FoMo: its folder, its data, and how it draws any place and period given what is measured."""
