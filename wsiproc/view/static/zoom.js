/** OpenSeadragon as it is used here: the slide's small picture, and over it its tiles.
 *
 * Its unit is one mm, so that both lie where they belong whatever their resolution.
 */

const MINIMAP_PX = 150;

/** A viewer in an element; its `slideItem` is what shows the tiles, once it is there. */
export function viewerOn(element, slide, minimap) {
  const { tiles, width_um, height_um } = slide;
  const size = { x: 0, y: 0, width: width_um / 1000 };
  const shrunk = MINIMAP_PX / Math.max(width_um, height_um);
  const viewer = new OpenSeadragon.Viewer({
    element,
    drawer: "canvas",
    prefixUrl: "",
    showNavigationControl: false,
    showNavigator: minimap,
    navigatorPosition: "BOTTOM_RIGHT",
    navigatorMaintainSizeRatio: false,
    navigatorWidth: Math.max(60, width_um * shrunk),
    navigatorHeight: Math.max(60, height_um * shrunk),
    navigatorAutoFade: false,
    navigatorBackground: "#fff",
    navigatorOpacity: 1,
    animationTime: 0.6,
    springStiffness: 9,
    zoomPerScroll: 1.35,
    visibilityRatio: 0.4,
    minZoomImageRatio: 0.7,
    maxZoomLevel: 50, // a window of 20 µm
    maxImageCacheCount: 400,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    tileSources: [{ tileSource: { type: "image", url: "picture", buildPyramid: false }, ...size }],
  });
  // What is drawn over the slide knows no turned or mirrored window.
  viewer.addHandler("canvas-key", (event) => {
    if ("fr".includes(event.originalEvent.key.toLowerCase())) event.preventDefaultAction = true;
  });
  if (tiles) {
    const tileSource = {
      width: tiles.width,
      height: tiles.height,
      tileSize: tiles.tile,
      tileOverlap: 0,
      minLevel: tiles.min_level,
      maxLevel: tiles.max_level,
      getTileUrl: (level, column, row) => `tiles/${level}/${column}_${row}.jpg`,
    };
    const whole = (tiles.width * tiles.um_per_px) / 1000;
    viewer.addOnceHandler("open", () =>
      viewer.addTiledImage({
        tileSource,
        x: 0,
        y: 0,
        width: whole,
        success: ({ item }) => (viewer.slideItem = item),
      }),
    );
  }
  return viewer;
}
