"""Operations on label and image arrays with a grid: components, orientation, files."""
